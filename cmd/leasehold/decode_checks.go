package main

import (
	"fmt"
	"time"

	"github.com/goccy/go-yaml/ast"

	"leasehold/internal/health"
)

// check decodes one element of checks: a mapping with the kind as its only key.
func (d configDecoder) check(n ast.Node, s *Service) {
	before := len(d.problems)
	c := Check{line: line(n)}
	kinds := 0
	kind := func(name string, decode func(ast.Node, *Check)) func(ast.Node) {
		return func(n ast.Node) {
			kinds++
			c.Health.Name = name
			decode(n, &c)
		}
	}
	d.mapping(n, "checks", keys{
		"process": kind("process", d.processCheck),
		"mysql":   kind("mysql", d.mysqlCheck),
		"tcp":     kind("tcp", d.tcpCheck),
		"exec":    kind("exec", d.execCheck),
	})
	if len(d.problems) > before {
		return
	}
	if kinds != 1 {
		d.problem(c.line, "this entry of checks has %d checks; write one to each dash", kinds)
		return
	}
	if err := c.Health.Validate(); err != nil {
		d.problem(c.line, "services.%s.checks: %v", s.Name, err)
		return
	}
	c.Health.Name = freeName(c.Health.Name, s.Checks)
	s.Checks = append(s.Checks, c)
}

// freeName numbers the second check of a kind, and those after it.
func freeName(kind string, before []Check) string {
	name, n := kind, 1
	for i := 0; i < len(before); i++ {
		if before[i].Health.Name == name {
			n++
			name, i = fmt.Sprintf("%s-%d", kind, n), -1
		}
	}
	return name
}

// timing adds the keys that every kind of check has. What is left out stays
// zero: package health has the defaults of each kind.
func (d configDecoder) timing(kind string, c *health.Config, known keys) keys {
	positive := func(key string, set func(time.Duration)) func(ast.Node) {
		return d.duration(kind+"."+key, func(v time.Duration, at int) {
			if v == 0 {
				d.problem(at, "%s.%s: 0 is no length of time here; write 500ms, or take the line out for the default", kind, key)
			}
			set(v)
		})
	}
	const why = "times in a row; more than that would take minutes"
	known["interval"] = positive("interval", func(v time.Duration) { c.Interval = v })
	known["timeout"] = positive("timeout", func(v time.Duration) { c.Timeout = v })
	known["fall"] = d.number(kind+".fall", 1, 100, why, func(v int) { c.Fall = v })
	known["rise"] = d.number(kind+".rise", 1, 100, why, func(v int) { c.Rise = v })
	return known
}

func (d configDecoder) processCheck(n ast.Node, c *Check) {
	p := &health.Process{}
	c.Health.Process = p
	d.mapping(n, "checks.process", d.timing("process", &c.Health, keys{
		"socket":  d.path("process.socket", func(s string, _ int) { p.Socket = s }),
		"pidfile": d.path("process.pidfile", func(s string, _ int) { p.Pidfile = s }),
		"name":    d.text("process.name", func(s string, _ int) { p.Name = s }),
	}))
}

func (d configDecoder) mysqlCheck(n ast.Node, c *Check) {
	m := &health.MySQL{}
	c.Health.MySQL = m
	d.mapping(n, "checks.mysql", d.timing("mysql", &c.Health, keys{
		"socket":        d.path("mysql.socket", func(s string, _ int) { m.Socket = s }),
		"address":       d.text("mysql.address", func(s string, _ int) { m.Address = s }),
		"user":          d.text("mysql.user", func(s string, _ int) { m.User = s }),
		"password_file": d.secretFile("mysql.password_file", func(f *SecretFile) { c.PasswordFile = f }),
		"!password":     d.secretItself,
		"require":       d.word("mysql.require", []string{"writable"}, func(s string) { m.Require = s }),
	}))
	if c.PasswordFile != nil && m.User == "" {
		d.problem(c.PasswordFile.Line, "mysql.password_file is given without mysql.user; write the user that the password belongs to")
	}
}

func (d configDecoder) tcpCheck(n ast.Node, c *Check) {
	t := &health.TCP{}
	c.Health.TCP = t
	d.mapping(n, "checks.tcp", d.timing("tcp", &c.Health, keys{
		"address": d.text("tcp.address", func(s string, _ int) { t.Address = s }),
	}))
}

func (d configDecoder) execCheck(n ast.Node, c *Check) {
	e := &health.Exec{}
	c.Health.Exec = e
	d.mapping(n, "checks.exec", d.timing("exec", &c.Health, keys{
		"command": d.list("exec.command", "[/usr/local/bin/check-mysql, --quick]",
			d.text("exec.command", func(s string, _ int) { e.Command = append(e.Command, s) })),
	}))
}
