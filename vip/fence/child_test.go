package fence

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

// childEnv says to a test binary that it is a process with a fence: "mode dir
// address kind".
const childEnv = "LEASEHOLD_FENCE_TEST_CHILD"

// child is such a process. It prints a line: "ok", or what failed.
func child() (int, bool) {
	mode, rest, is := strings.Cut(os.Getenv(childEnv), " ")
	if !is {
		return 0, false
	}
	err := childRun(mode, strings.Fields(rest))
	if err != nil {
		fmt.Println(strings.ReplaceAll(err.Error(), "\n", "; "))
		return 0, true
	}
	fmt.Println("ok")
	if mode == "hold" {
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
	}
	return 0, true
}

func childRun(mode string, args []string) error {
	if mode == "seccomp" {
		if err := refuseBPF(); err != nil {
			return err
		}
	}
	f, err := Open(Config{Dir: args[0], Addr: netip.MustParseAddr(args[1]), Device: dev, Kind: Kind(args[2])})
	if err != nil {
		return err
	}
	for _, do := range []func() error{
		f.Check, f.Tend, f.Rebuild, f.Check, f.Shut,
		func() error { return f.Arm(in(time.Hour)) },
	} {
		if err := do(); err != nil {
			return err
		}
	}
	if mode == "hold" {
		return nil // with everything open
	}
	return f.Close()
}

// refuseBPF makes bpf(2) fail with EPERM in the whole process, as a unit's
// SystemCallFilter= does: seccomp(2).
func refuseBPF() error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_BPF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

func childCommand(mode, dir string, a netip.Addr, k Kind) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), inNamespace+"=1", fmt.Sprintf("%s=%s %s %s %s", childEnv, mode, dir, a, k))
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	return cmd
}

// A process that is killed leaves the fence as it is, open, until its deadline.
func TestKill(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 2)
		here, client := hosts[0], hosts[1]
		dir := bpffs(t)
		here.run(t, "ip", "addr", "add", prefix(vip4), "dev", dev)
		cmd := childCommand("hold", dir, vip4, k)
		stdin, err := cmd.StdinPipe()
		ok(t, err)
		defer stdin.Close()
		out, err := cmd.StdoutPipe()
		ok(t, err)
		ok(t, cmd.Start())
		line, _ := bufio.NewReader(out).ReadString('\n')
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // killed
		if line != "ok\n" {
			t.Fatalf("child: %s", line)
		}
		arp := client.questions(t, vip4, here.mac)[0]
		arp.answered(t)
		s, err := Read(dir, vip4)
		ok(t, err)
		if s.Kind != k || s.Until < boottime.Now() || strings.Join(s.Devices, " ") != "lo eth0" && strings.Join(s.Devices, " ") != "eth0 lo" {
			t.Errorf("Read() = %+v", s)
		}
		f := open(t, Config{Dir: dir, Addr: vip4})
		if got := f.State().Until; got != s.Until {
			t.Errorf("adopted: deadline %d; want %d", got, s.Until)
		}
		arp.answered(t)
		ok(t, f.Arm(in(50*time.Millisecond)))
		await(t, "the deadline", func() bool { return boottime.Now() > f.State().Until })
		arp.silent(t)
	})
}

// An ordinary user with CAP_BPF and CAP_NET_ADMIN can do everything; without, and
// where bpf(2) is refused otherwise, the error says what is missing.
func TestOrdinaryUser(t *testing.T) {
	lan(t, 2)
	nobody := func(caps ...uintptr) *syscall.SysProcAttr {
		return &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true},
			AmbientCaps: caps,
		}
	}
	for _, c := range []struct {
		name, mode string
		attr       *syscall.SysProcAttr
		want       []string
	}{
		{"both capabilities", "use", nobody(unix.CAP_BPF, unix.CAP_NET_ADMIN), []string{"ok"}},
		{"no CAP_BPF", "use", nobody(unix.CAP_NET_ADMIN), []string{"no fence", "missing CAP_BPF:", "AmbientCapabilities="}},
		{"no CAP_NET_ADMIN", "use", nobody(unix.CAP_BPF), []string{"no fence", "missing CAP_NET_ADMIN:"}},
		{"none", "use", nobody(), []string{"no fence", "missing CAP_BPF and CAP_NET_ADMIN:"}},
		{"seccomp", "seccomp", &syscall.SysProcAttr{}, []string{"no fence", "seccomp filter", "SystemCallFilter=bpf"}},
		{"user namespace", "use", &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{Size: 1}},
		}, []string{"no fence", "user namespace"}},
	} {
		kinds(t, func(t *testing.T, k Kind) {
			t.Run(c.name, func(t *testing.T) {
				dir := bpffs(t)
				cmd := childCommand(c.mode, dir, vip4, k)
				cmd.SysProcAttr = c.attr
				out, err := cmd.Output()
				ok(t, err)
				t.Logf("%s", out)
				for _, want := range c.want {
					if !strings.Contains(string(out), want) {
						t.Errorf("child: %s; want %q in it", out, want)
					}
				}
				if _, err := Read(dir, vip4); (err == nil) != (c.want[0] == "ok") {
					t.Errorf("Read() = %v", err)
				}
				_, err = Purge(dir)
				ok(t, err)
			})
		})
	}
}
