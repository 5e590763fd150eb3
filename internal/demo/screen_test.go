package demo

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/lab"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// quietView is a moment at which all is well.
func quietView() view {
	return view{
		elapsed: 9 * time.Second, asked: 4711, strip: strings.Repeat(" ", stripMarks-20) + strings.Repeat("a", 20),
		sql: strings.Repeat(" ", stripMarks-20) + strings.Repeat("a", 14) + strings.Repeat(" ", 6),
		hosts: []hostView{
			{name: hostA, addr: "10.20.8.50", vip: true, mysqld: isUp, role: isHolder, left: 1640 * time.Millisecond, ttl: 2 * time.Second, etcd: "member"},
			{name: hostB, addr: "10.20.8.27", mysqld: isUp, role: "standby", ttl: 2 * time.Second, etcd: "member"},
			{name: witness, addr: "10.20.8.28", mysqld: isNone, role: "witness", etcd: isLeader},
		},
		said: []string{"start ok   up on a 3.12 s after the last start"},
	}
}

// views are moments of the story, by name.
func views() map[string]view {
	all := map[string]view{"quiet": quietView()}
	story := steps(2 * time.Second)
	scene := &scene{network: &network{}, holder: hostA, standby: hostB}

	v := quietView()
	v.now, v.happening = story[1].named(scene), "cable of db20-024 pulled: it can neither renew nor be heard"
	v.hosts[0].unplugged, v.hosts[0].left = true, 210*time.Millisecond
	v.lost, v.strip = 900, strings.Repeat("a", stripMarks-18)+strings.Repeat(".", 18)
	v.said = append(v.said, "N2    ok   a, none of 3006 probes lost")
	all["cable-pulled"] = v

	v = quietView()
	v.now, v.apart = story[2].named(scene), true
	v.happening = "no frame passes between db20-024 and db20-025; the witness reaches both"
	all["apart"] = v

	v = quietView()
	v.now = story[6].named(scene)
	v.hosts[0] = hostView{name: hostA, addr: "10.20.8.50", off: true, mysqld: isDown, role: isDown, etcd: isDown}
	v.hosts[1].role, v.hosts[1].vip, v.hosts[1].left = isHolder, true, 1900*time.Millisecond
	v.strip = strings.Repeat("a", 30) + strings.Repeat(".", 19) + strings.Repeat("b", stripMarks-49)
	v.standIn, v.sql = true, ""
	all["power-off"] = v

	v = quietView()
	v.now = story[7].named(scene)
	v.hosts[0].role, v.hosts[0].left = isHolder+", HA paused", time.Hour+58*time.Second
	v.elapsed = 83 * time.Second
	for i := range 12 {
		v.said = append(v.said, fmt.Sprintf("X%d    ok   a, none of 3006 probes lost", i))
	}
	all["paused"] = v
	return all
}

func TestScreenIsDrawnInto80By24(t *testing.T) {
	for name, v := range views() {
		t.Run(name, func(t *testing.T) {
			lines := frame(v, screenWidth, screenHeight, false)
			golden(t, name+".txt", strings.Join(lines, "\n")+"\n")
		})
	}
}

var sgr = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// In every size no line is wider and there are no more of them, and colour changes
// nothing but the colour.
func TestScreenFitsEverySize(t *testing.T) {
	for name, v := range views() {
		for _, size := range [][2]int{{80, 24}, {200, 60}, {80, 10}, {60, 24}, {20, 5}, {1, 1}} {
			t.Run(fmt.Sprintf("%s/%dx%d", name, size[0], size[1]), func(t *testing.T) {
				plain := frame(v, size[0], size[1], false)
				if len(plain) > size[1] {
					t.Errorf("%d lines, want at most %d", len(plain), size[1])
				}
				for i, line := range plain {
					if n := utf8.RuneCountInString(line); n > min(size[0], screenWidth) {
						t.Errorf("line %d has %d cells: %q", i+1, n, line)
					}
					if strings.ContainsRune(line, '\x1b') {
						t.Errorf("line %d has a control sequence without colour: %q", i+1, line)
					}
				}
				for i, line := range frame(v, size[0], size[1], true) {
					if got := strings.TrimRight(sgr.ReplaceAllString(line, ""), " "); got != plain[i] {
						t.Errorf("in colour line %d is %q, want %q", i+1, got, plain[i])
					}
				}
			})
		}
	}
}

func TestStrip(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int, by string) lab.Probe {
		p := lab.Probe{Sent: start.Add(time.Duration(ms) * time.Millisecond), By: by}
		if by != "" {
			p.Answered = p.Sent.Add(time.Millisecond)
		}
		return p
	}
	probes := []lab.Probe{at(10, hostA), at(110, hostA), at(150, ""), at(190, hostA), at(210, hostA), at(290, hostB), at(310, hostB), at(410, "")}
	for now, want := range map[int]string{
		100: "     ", // the first slice may still get answers
		160: "    a",
		259: "   a ",
		260: "   a.",
		459: " a.b ",
		460: " a.bb",
		560: "a.bb.",
	} {
		if got := strip(probes, start, start.Add(time.Duration(now)*time.Millisecond), settled, 5); got != want {
			t.Errorf("strip at %d ms = %q, want %q", now, got, want)
		}
	}
}

func TestLeaseBar(t *testing.T) {
	const ttl = 2 * time.Second
	for left, want := range map[time.Duration]string{
		0: "-", -time.Second: "-",
		time.Millisecond:       "#--------- 0.0 s",
		time.Second:            "#####----- 1.0 s",
		ttl:                    "########## 2.0 s",
		ttl + time.Millisecond: "########## 2.0 s",
		time.Hour:              "1h0m0s",
	} {
		if got := lease(left, ttl); got != want {
			t.Errorf("lease(%v) = %q, want %q", left, got, want)
		}
	}
}
