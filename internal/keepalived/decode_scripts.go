package keepalived

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// maxSeconds is the longest time that keepalived takes in whole seconds:
// UINT_MAX / TIMER_HZ, vrrp/vrrp_parser.c.
const maxSeconds = 4294

func (d decoder) script(s *statement, cfg *config) {
	name, ok := d.named(s, func(n string) bool { return cfg.script(n) != nil })
	if !ok {
		return
	}
	sc := &script{Name: name, At: s, Interval: setting[int]{Value: 1}, Rise: setting[int]{Value: 1}, Fall: setting[int]{Value: 1}}
	for _, c := range s.Block {
		switch c.keyword() {
		case "script":
			d.command(&sc.Command, c)
		case "interval":
			d.number(&sc.Interval, c, 0, maxSeconds)
		case "timeout":
			d.number(&sc.Timeout, c, 0, maxSeconds)
		case "weight":
			d.weight(&sc.Weight, &sc.Reverse, c, 253)
			if n, err := strconv.Atoi(c.arg()); err == nil && sc.Weight.At != c {
				sc.Weight = setting[int]{n, c} // told, and taken nevertheless (vrrp_vscript_weight_handler)
			}
		case "rise":
			d.number(&sc.Rise, c, 1, math.MaxInt32)
		case "fall":
			d.number(&sc.Fall, c, 1, math.MaxInt32)
		case "init_fail":
			sc.InitFail = c
		case "user":
			sc.User = c
		}
	}
	cfg.Scripts = append(cfg.Scripts, sc)
}

// script returns the script of that name, or nil.
func (cfg *config) script(name string) *script {
	if i := slices.IndexFunc(cfg.Scripts, func(s *script) bool { return s.Name == name }); i >= 0 {
		return cfg.Scripts[i]
	}
	return nil
}

// command sets the program and its arguments. keepalived takes the first word
// behind the keyword, quotes and all, and cuts that into words once more
// (set_script_params_array in lib/notify.c).
func (d decoder) command(to *setting[[]string], s *statement) {
	if d.lacks(s) {
		return
	}
	outer, ok := splitEscaped(s.text)
	if !ok || len(outer) < 2 {
		d.left(s, "a quote or an escape in it is not finished, and keepalived ignores the script; finish it, and import again")
		return
	}
	words, ok := splitEscaped(outer[1])
	if !ok || len(words) == 0 {
		d.left(s, "names no program that keepalived could run; write one, and import again")
		return
	}
	put(d, to, s, words)
	if len(outer) > 2 {
		d.left(s, "keepalived takes the first word, or what is in the first quotes, and ignores the rest of the line, as is done here; put quotes around all of it, or the rest on a line of its own, and import again")
	}
}

func (d decoder) process(s *statement, cfg *config) {
	name, ok := d.named(s, func(n string) bool { return cfg.process(n) != nil })
	if !ok {
		return
	}
	p := &process{Name: name, At: s}
	for _, c := range s.Block {
		switch c.keyword() {
		case "process":
			if !d.lacks(c) {
				put(d, &p.Command, c, c.Words[1:])
			}
		case "weight":
			d.weight(&p.Weight, &p.Reverse, c, 254)
		case "param_match", "quorum", "quorum_max", "delay", "terminate_delay", "fork_delay", "full_command":
			p.rest = append(p.rest, c)
		}
	}
	cfg.Processes = append(cfg.Processes, p)
}

// process returns the process of that name, or nil.
func (cfg *config) process(name string) *process {
	if i := slices.IndexFunc(cfg.Processes, func(p *process) bool { return p.Name == name }); i >= 0 {
		return cfg.Processes[i]
	}
	return nil
}

// track reads what an instance, or a group, watches.
func (d decoder) track(c *statement, t *tracks, cfg *config) bool {
	switch c.keyword() {
	case "track_script":
		d.tracks(c, &t.Scripts, "vrrp_script", func(n string) bool { return cfg.script(n) != nil })
	case "track_process":
		d.tracks(c, &t.Processes, "vrrp_track_process", func(n string) bool { return cfg.process(n) != nil })
	case "track_interface":
		d.tracks(c, &t.Interfaces, "", func(string) bool { return true })
	default:
		return false
	}
	d.extra(c, 1)
	t.blocks = append(t.blocks, c)
	return true
}

// tracks reads the block of track_script, track_process or track_interface. What
// is not defined above the line does not exist for keepalived yet
// (alloc_track_script in vrrp/vrrp_track.c).
func (d decoder) tracks(s *statement, to *[]track, what string, exists func(string) bool) {
	for _, c := range s.Block {
		t := track{At: c, Name: c.keyword()}
		if !exists(t.Name) {
			d.left(c, "no %s of this name is defined above this line, and keepalived ignores the line: it was never checked, and is not here; define it further up, and import again", what)
			continue
		}
		if slices.ContainsFunc(*to, func(o track) bool { return o.Name == t.Name }) {
			d.nothing(c, "it is in the list already, and keepalived takes the first")
			continue
		}
		if len(c.Words) > 1 && (c.Words[1] != "weight" || len(c.Words) == 2) {
			d.left(c, "what follows the name is not weight with a number, and keepalived ignores the line; correct it, and import again")
			continue
		}
		if len(c.Words) > 2 {
			d.number(&t.Weight, &statement{Pos: c.Pos, Words: c.Words[1:], drawn: c.drawn}, -254, 254)
			if t.Weight.At == nil {
				d.left(c, "the weight is no whole number from -253 to 253, and keepalived ignores it; correct it, and import again")
			} else {
				t.Weight.At = c
			}
			t.Reverse = len(c.Words) > 3 && c.Words[3] == "reverse"
			if len(c.Words) > 4 || len(c.Words) == 4 && c.Words[3] != "reverse" && c.Words[3] != "noreverse" {
				d.left(c, "keepalived does not know what follows the weight, and ignores it; see whether it matters")
			}
		}
		*to = append(*to, t)
	}
}

func (d decoder) group(s *statement, cfg *config) {
	name, ok := d.named(s, func(n string) bool {
		return slices.ContainsFunc(cfg.Groups, func(g *group) bool { return g.Name == n })
	})
	if !ok {
		return
	}
	g := &group{Name: name, At: s}
	for _, c := range s.Block {
		switch c.keyword() {
		case "group":
			if g.block != nil {
				d.all(c, Outcome{Left: "the group has a list of members already, and keepalived skips the second; put them into one, and import again"})
				continue
			}
			d.extra(c, 1)
			g.block, g.Members = c, c.Block
		default:
			if d.track(c, &g.Tracks, cfg) {
				continue
			}
			if o, ok := ofInstance(c); ok {
				d.all(c, o)
			}
		}
	}
	cfg.Groups = append(cfg.Groups, g)
}

// shortName is the name of a program without its folder.
func shortName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
