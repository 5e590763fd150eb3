package health

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const statLine = "14979 (mariadbd) S 1 14955 2804 0 -1 4194560 17485 0 0 0 3 2 0 0 20 0 12 0 176297 8797344817152 21633 18446744073709551615 1 1 0 0 0 0\n"

func TestParseStat(t *testing.T) {
	for name, tc := range map[string]struct {
		in    string
		want  stat
		dying bool
	}{
		"mariadbd":             {statLine, stat{"mariadbd", 4194560, 176297}, false},
		"a name made to fool":  {strings.Replace(statLine, "mariadbd", ") S 1 1 (\n", 1), stat{") S 1 1 (\n", 4194560, 176297}, false},
		"no name":              {strings.Replace(statLine, "mariadbd", "", 1), stat{"", 4194560, 176297}, false},
		"being torn down":      {strings.Replace(statLine, "4194560", "4194564", 1), stat{"mariadbd", 4194564, 176297}, true},
		"dumping core":         {strings.Replace(statLine, "4194560", "4195072", 1), stat{"mariadbd", 4195072, 176297}, true},
		"waiting for the dump": {strings.Replace(statLine, "4194560", "4194568", 1), stat{"mariadbd", 4194568, 176297}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(tc.in))
			if err != nil || got != tc.want || got.dying() != tc.dying {
				t.Errorf("parseStat = %+v, %v, dying %t; want %+v, dying %t", got, err, got.dying(), tc.want, tc.dying)
			}
		})
	}
	for _, in := range []string{"", "1", ")(", "1 (x", "1 (x) S 1 2 3", strings.Replace(statLine, "176297", "-1", 1), strings.Replace(statLine, "4194560", "x", 1)} {
		if got, err := parseStat([]byte(in)); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", in, got)
		}
	}
}

func TestReadStatOfOurselves(t *testing.T) {
	s, err := readStat(os.Getpid())
	if err != nil || s.start == 0 || s.dying() || s.comm == "" {
		t.Errorf("readStat = %+v, %v", s, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(statLine))
	f.Add([]byte(")(((1) 2 3"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseStat(b)
		if err == nil && !strings.Contains(string(b), "("+s.comm+")") {
			t.Errorf("comm %q is not in %q", s.comm, b)
		}
	})
}

func FuzzParsePid(f *testing.F) {
	f.Add([]byte("4711\n"))
	f.Add([]byte("-1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if pid, err := parsePid(b); err == nil && pid < 1 {
			t.Errorf("parsePid(%q) = %d", b, pid)
		}
	})
}

// message makes a message of the connector: event words after what, cpu, time.
func message(what uint32, words ...uint32) []byte {
	ne := binary.NativeEndian
	var b []byte
	for _, w := range append([]uint32{0, 0, 0, 0, cnIdxProc, cnValProc, 0, 0, 0, what, 0, 0, 0}, words...) {
		b = ne.AppendUint32(b, w)
	}
	ne.PutUint32(b, uint32(len(b)))
	ne.PutUint16(b[4:], unix.NLMSG_DONE)
	return b
}

func TestParseProcEvent(t *testing.T) {
	for name, tc := range map[string]struct {
		in    []byte
		want  procEvent
		fatal bool
		cause string
	}{
		"killed":           {message(procExit, 12, 10, 9, 17), procEvent{what: procExit, pid: 12, tgid: 10, code: 9}, true, "killed by signal 9"},
		"core was dumped":  {message(procExit, 10, 10, 0x8b, 17), procEvent{what: procExit, pid: 10, tgid: 10, code: 0x8b}, true, "killed by signal 11"},
		"a thread returns": {message(procExit, 12, 10, 0, 17), procEvent{what: procExit, pid: 12, tgid: 10}, false, "exit code 0"},
		"exit code":        {message(procExit, 10, 10, 0x100, 17), procEvent{what: procExit, pid: 10, tgid: 10, code: 256}, false, "exit code 1"},
		"core dump":        {message(procCoredump, 10, 10, 9, 9), procEvent{what: procCoredump, pid: 10, tgid: 10}, true, "crashed, dumping core"},
		"subscribed":       {message(procNone, 0, 0), procEvent{}, false, "exit code 0"},
		"refused":          {message(procNone, 1, 0), procEvent{code: 1}, false, "killed by signal 1"},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parseProcEvent(tc.in)
			if !ok || got != tc.want || got.fatal() != tc.fatal || got.cause() != tc.cause {
				t.Errorf("= %+v, %t, fatal %t, %q; want %+v, fatal %t, %q", got, ok, got.fatal(), got.cause(), tc.want, tc.fatal, tc.cause)
			}
		})
	}
	foreign := message(procExit, 12, 10, 9, 17)
	foreign[nlHeader] = 7
	for name, in := range map[string][]byte{
		"empty": nil, "cut": message(procExit, 12, 10, 9, 17)[:40], "without its code": message(procExit, 12, 10), "another connector": foreign,
	} {
		if got, ok := parseProcEvent(in); ok {
			t.Errorf("%s: %+v, want it ignored", name, got)
		}
	}
}

func FuzzParseProcEvent(f *testing.F) {
	f.Add(message(procExit, 12, 10, 9, 17))
	f.Add(message(procCoredump, 10, 10))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if e, ok := parseProcEvent(b); ok {
			_, _ = e.fatal(), e.cause()
		}
	})
}
