package health

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	my := &MySQL{Socket: "/run/mysqld/mysqld.sock", User: "leasehold"}
	proc := &Process{Name: "mysqld"}
	for name, tc := range map[string]struct {
		cfg  Config
		want []string // parts of the error; none means valid
	}{
		"process":                {Config{Process: proc}, nil},
		"mysql":                  {Config{MySQL: my}, nil},
		"mysql as in the design": {Config{MySQL: my, Interval: 500 * time.Millisecond, Timeout: time.Second, Fall: 2, Rise: 2}, nil},
		"tcp":                    {Config{TCP: &TCP{"[::1]:3306"}}, nil},
		"exec":                   {Config{Exec: &Exec{[]string{"/bin/true", "a"}}}, nil},
		"nothing":                {Config{}, []string{"0 of process", "set exactly one"}},
		"two kinds":              {Config{Process: proc, MySQL: my}, []string{"2 of process", "set exactly one"}},
		"negative interval":      {Config{MySQL: my, Interval: -1}, []string{"interval (-1ns) is negative", "leave it out"}},
		"negative timeout":       {Config{MySQL: my, Timeout: -time.Second}, []string{"timeout (-1s) is negative"}},
		"tiny interval":          {Config{MySQL: my, Interval: time.Millisecond}, []string{"interval (1ms) is under 10ms", "set 10ms or more"}},
		"huge timeout":           {Config{MySQL: my, Timeout: 2 * time.Hour}, []string{"timeout (2h0m0s) is over 1h0m0s"}},
		"timeout out of scale":   {Config{MySQL: my, Interval: 100 * time.Millisecond, Timeout: time.Minute, Fall: 2}, []string{"timeout (1m0s)", "noticed only after 1m0.2s", "set timeout to 2s or less"}},
		"negative fall":          {Config{MySQL: my, Fall: -1}, []string{"fall (-1) is not in 1 to 100"}},
		"huge rise":              {Config{MySQL: my, Rise: 101}, []string{"rise (101) is not in 1 to 100"}},
		"fall of a process":      {Config{Process: proc, Fall: 2}, []string{"mean nothing for a process", "remove them"}},
		"process by nothing":     {Config{Process: &Process{}}, []string{"0 of socket, pidfile and name"}},
		"process by two":         {Config{Process: &Process{Name: "mysqld", Socket: "/s"}}, []string{"2 of socket, pidfile and name"}},
		"long name":              {Config{Process: &Process{Name: "mysqld_multi_safe"}}, []string{"longer than 15 bytes", `write "mysqld_multi_sa"`}},
		"path as name":           {Config{Process: &Process{Name: "/usr/sbin/mysqld"}}, []string{"names, not paths", "ps -o comm"}},
		"relative pidfile":       {Config{Process: &Process{Pidfile: "mysqld.pid"}}, []string{"process.pidfile", "not an absolute path"}},
		"relative socket":        {Config{Process: &Process{Socket: "mysqld.sock"}}, []string{"process.socket", "not an absolute path"}},
		"long socket":            {Config{MySQL: &MySQL{Socket: "/" + strings.Repeat("x", 107), User: "u"}}, []string{"mysql.socket is 108 bytes", "107"}},
		"mysql nowhere":          {Config{MySQL: &MySQL{User: "u"}}, []string{"either socket or address"}},
		"mysql twice":            {Config{MySQL: &MySQL{User: "u", Socket: "/s", Address: "h:1"}}, []string{"either socket or address"}},
		"mysql without user":     {Config{MySQL: &MySQL{Socket: "/s"}}, []string{"mysql.user is missing"}},
		"mysql require":          {Config{MySQL: &MySQL{Socket: "/s", User: "u", Require: "master"}}, []string{`mysql.require ("master") is unknown`, `write "writable"`}},
		"mysql without port":     {Config{MySQL: &MySQL{Address: "127.0.0.1", User: "u"}}, []string{"mysql.address", "127.0.0.1:3306"}},
		"tcp without host":       {Config{TCP: &TCP{":3306"}}, []string{"tcp.address", "not host:port"}},
		"tcp port 0":             {Config{TCP: &TCP{"h:0"}}, []string{"not host:port"}},
		"exec nothing":           {Config{Exec: &Exec{}}, []string{"exec.command is empty"}},
		"exec relative":          {Config{Exec: &Exec{[]string{"check.sh"}}}, []string{"exec.command", "not an absolute path"}},
		"exec NUL":               {Config{Exec: &Exec{[]string{"/bin/sh", "a\x00b"}}}, []string{"NUL"}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.cfg.Name = "here"
			err := tc.cfg.Validate()
			if tc.want == nil && err != nil {
				t.Errorf("%v, want it valid", err)
			}
			for _, part := range append(tc.want, `check "here": `)[:len(tc.want)] {
				if err == nil || !strings.Contains(err.Error(), part) || !strings.HasPrefix(err.Error(), `check "here": `) {
					t.Errorf("error %v, want it to contain %q", err, part)
				}
			}
		})
	}
	if err := (Config{Process: proc}).Validate(); err == nil {
		t.Error("a check without a name is valid")
	}
	if _, err := New([]Config{{Name: "a", Process: proc}, {Name: "a", MySQL: my}}, testLog(t)); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("two of one name: %v", err)
	}
}

func TestPasswordDoesNotShow(t *testing.T) {
	m := MySQL{Socket: "/s", User: "u", Password: "hunter2"}
	j, err := json.Marshal(Config{MySQL: &m})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(m), fmt.Sprintf("%+v", m), fmt.Sprintf("%#v", m), fmt.Sprintf("%v", &m), fmt.Sprintf("%+v", Config{MySQL: &m}), string(j)} {
		if strings.Contains(s, "hunter2") {
			t.Error(s)
		}
	}
}
