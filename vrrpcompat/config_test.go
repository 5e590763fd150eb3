package vrrpcompat

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestValidateRefuses: each mistake is refused, and the sentence says what to
// write instead.
func TestValidateRefuses(t *testing.T) {
	six := func(c *Config) { c.VIPs = addrs("fd00:8::188") }
	three := func(c *Config) { c.Version = Version3 }
	for name, c := range map[string]struct {
		edit func(c *Config)
		want []string
	}{
		"router 0":               {func(c *Config) { c.VRID = 0 }, []string{"router_id is 0", "write router_id: 51"}},
		"a mode of its own":      {func(c *Config) { c.Mode = 7 }, []string{"mode 7", "write full, or gate"}},
		"no VIP":                 {func(c *Config) { c.VIPs = nil }, []string{"no VIP", "name at least one"}},
		"256 VIPs":               {func(c *Config) { c.VIPs = make([]netip.Addr, 256) }, []string{"256 VIPs", "keep 255"}},
		"a VIP that is none":     {func(c *Config) { c.VIPs = []netip.Addr{{}} }, []string{"VIP 1", "10.20.8.188"}},
		"a VIP with a zone":      {func(c *Config) { c.VIPs = addrs("fe80::1%eth0") }, []string{"zone", "write fe80::1"}},
		"a mapped VIP":           {func(c *Config) { c.VIPs = addrs("::ffff:10.20.8.188") }, []string{"write 10.20.8.188"}},
		"a multicast VIP":        {func(c *Config) { c.VIPs = addrs("224.0.0.18") }, []string{"224.0.0.18", "that clients use"}},
		"a VIP of the host":      {func(c *Config) { c.VIPs = addrs("127.0.0.1") }, []string{"127.0.0.1"}},
		"a VIP of no host":       {func(c *Config) { c.VIPs = addrs("0.0.0.0") }, []string{"0.0.0.0"}},
		"VIPs of two families":   {func(c *Config) { c.VIPs = addrs("10.20.8.188", "fd00:8::188") }, []string{"fd00:8::188 is IPv6", "10.20.8.188, is IPv4", "virtual_ipaddress_excluded"}},
		"a VIP twice":            {func(c *Config) { c.VIPs = addrs("10.20.8.188", "10.20.8.188") }, []string{"twice"}},
		"version 4":              {func(c *Config) { c.Version = 4 }, []string{"version (4)", "keepalived's default"}},
		"version 2 with IPv6":    {func(c *Config) { six(c); c.Version = Version2 }, []string{"no IPv6", "write version: 3"}},
		"half a second":          {func(c *Config) { c.Interval = 500 * time.Millisecond }, []string{"500ms", "advert_interval: 1s", "version: 3"}},
		"a second and a half":    {func(c *Config) { c.Interval = 1500 * time.Millisecond }, []string{"1.5s", "rounds it to 2s"}},
		"1.4 s":                  {func(c *Config) { c.Interval = 1400 * time.Millisecond }, []string{"rounds it to 1s"}},
		"256 s":                  {func(c *Config) { c.Interval = 256 * time.Second }, []string{"1s to 255s"}},
		"less than no time":      {func(c *Config) { c.Interval = -time.Second }, []string{"-1s"}},
		"version 3 and 41 s":     {func(c *Config) { three(c); c.Interval = 41 * time.Second }, []string{"10ms to 40.95s"}},
		"version 3 and 5 ms":     {func(c *Config) { three(c); c.Interval = 5 * time.Millisecond }, []string{"10ms to 40.95s"}},
		"version 3 and 15 ms":    {func(c *Config) { three(c); c.Interval = 15 * time.Millisecond }, []string{"15ms", "write 20ms"}},
		"a bound in version 2":   {func(c *Config) { c.MaxInterval = 2 * time.Second }, []string{"max_interval", "take it out"}},
		"a bound below our own":  {func(c *Config) { three(c); c.MaxInterval = 500 * time.Millisecond }, []string{"max_interval (500ms)", "write one between"}},
		"a bound beyond VRRP":    {func(c *Config) { three(c); c.MaxInterval = 50 * time.Second }, []string{"max_interval (50s)"}},
		"no adverts to wait for": {func(c *Config) { c.DownAdverts = -1 }, []string{"down_timer_adverts (-1)"}},

		"authentication 3":             {func(c *Config) { c.Auth.Type = 3 }, []string{"type 3", "write PASS, or AH"}},
		"a password for nothing":       {func(c *Config) { c.Auth.Password = "s3cret" }, []string{"no type", "type: PASS"}},
		"PASS without a password":      {func(c *Config) { c.Auth.Type = AuthPass }, []string{"no password", "auth_pass"}},
		"a password of 9":              {func(c *Config) { c.Auth = Auth{AuthPass, "s3cret s3"} }, []string{"9 bytes long", "only its first 8"}},
		"a password with NUL":          {func(c *Config) { c.Auth = Auth{AuthAH, "s3c\x00ret"} }, []string{"NUL", "leave it out"}},
		"version 3 with PASS":          {func(c *Config) { three(c); c.Auth = Auth{AuthPass, "s3cret"} }, []string{"PASS", "take auth out", "version: 2"}},
		"version 3 with AH":            {func(c *Config) { three(c); c.Auth = Auth{AuthAH, "s3cret"} }, []string{"AH", "take auth out"}},
		"IPv6 with PASS":               {func(c *Config) { six(c); c.Auth = Auth{AuthPass, "s3cret"} }, []string{"for IPv4", "take auth out"}},
		"a source of the other family": {func(c *Config) { c.Source = hostA6 }, []string{"source (fe80::ff:fe00:850) is IPv6", "IPv4"}},
		"a source of no host":          {func(c *Config) { c.Source = netip.IPv4Unspecified() }, []string{"source (0.0.0.0)"}},
		"a source that is a VIP":       {func(c *Config) { c.Source = c.VIPs[0] }, []string{"is a VIP", "always has"}},
		"a group of the other family":  {func(c *Config) { c.Group = group6() }, []string{"group (ff02::12)", "224.0.0.18"}},
		"a group that is none":         {func(c *Config) { c.Group = hostB }, []string{"no IPv4 multicast group"}},

		"a peer that is ourselves":        {func(c *Config) { c.Source, c.Peers = hostA, []netip.Addr{hostB, hostA} }, []string{"peer 10.20.8.50 is this host itself", "only the others"}},
		"a peer of the other family":      {func(c *Config) { c.Peers = []netip.Addr{hostB6} }, []string{"IPv6", "write the peer's IPv4 address"}},
		"a peer that is a VIP":            {func(c *Config) { c.Peers = c.VIPs }, []string{"peer 10.20.8.188 is a VIP"}},
		"a peer that is a group":          {func(c *Config) { c.Peers = []netip.Addr{group4()} }, []string{"peer 224.0.0.18"}},
		"a peer twice":                    {func(c *Config) { c.Peers = []netip.Addr{hostB, hostB} }, []string{"twice"}},
		"TTL bounds the wrong way":        {func(c *Config) { c.Peers = []netip.Addr{hostB}; c.MinTTL, c.MaxTTL = 128, 64 }, []string{"min_ttl (128) is over max_ttl (64)"}},
		"a TTL in multicast":              {func(c *Config) { c.TTL = 64 }, []string{"ttl (64)", "for unicast"}},
		"TTL bounds in multicast":         {func(c *Config) { c.MinTTL = 64 }, []string{"for unicast"}},
		"any source in multicast":         {func(c *Config) { c.AnySource = true }, []string{"any_source"}},
		"a checksum form for version 2":   {func(c *Config) { c.Checksum = ChecksumMessage }, []string{"version 3 over IPv4", "take it out"}},
		"an exact one for version 2":      {func(c *Config) { c.ExactChecksum = true }, []string{"version 3 over IPv4"}},
		"a checksum form for IPv6":        {func(c *Config) { six(c); c.Checksum = ChecksumMessage }, []string{"version 3 over IPv4"}},
		"a checksum form of its own":      {func(c *Config) { three(c); c.Checksum = 9 }, []string{"form 9", "rfc9568"}},
		"the old form in multicast":       {func(c *Config) { three(c); c.Checksum = ChecksumGroup }, []string{"old_unicast", "take it out"}},
		"an owner that does not pre-empt": {func(c *Config) { c.Priority, c.NoPreempt = 255, true }, []string{"preempt: false", "priority: 254"}},
		"an owner that delays":            {func(c *Config) { c.Priority, c.PreemptDelay = 255, time.Second }, []string{"preempt_delay", "priority: 254"}},
		"a delay of nothing":              {func(c *Config) { c.NoPreempt, c.PreemptDelay = true, time.Second }, []string{"take one out"}},
		"a delay of an hour":              {func(c *Config) { c.PreemptDelay = time.Hour }, []string{"preempt_delay (1h0m0s)"}},
		"a delay into the past":           {func(c *Config) { c.PreemptDelay = -time.Second }, []string{"preempt_delay (-1s)"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := base()
			c.edit(&cfg)
			err := cfg.Validate()
			if err == nil {
				t.Fatal("Validate() = nil")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("Validate() = %q, want %q in it", err, w)
				}
			}
			if s := err.Error(); strings.ContainsAny(s, "\n") || strings.Contains(s, "s3c") || strings.Contains(s, "%!") {
				t.Errorf("Validate() = %q is more than a line, or shows the password", s)
			}
		})
	}
}

func TestValidateAccepts(t *testing.T) {
	for name, edit := range map[string]func(c *Config){
		"the captures' configuration": func(*Config) {},
		"nothing but what is needed":  func(c *Config) { *c = Config{VRID: 1, VIPs: c.VIPs} },
		"IPv6 without a version":      func(c *Config) { c.VIPs = addrs("fe80::8:188", "fd00:8::188") },
		"an owner":                    func(c *Config) { c.Priority = 255 },
		"255 s":                       func(c *Config) { c.Interval = 255 * time.Second },
		"version 3 and 40.95 s":       func(c *Config) { c.Version, c.Interval = 3, 40950*time.Millisecond },
		"version 3 and 10 ms":         func(c *Config) { c.Version, c.Interval = 3, 10*time.Millisecond },
		"a password of 8":             func(c *Config) { c.Auth = Auth{AuthPass, "12345678"} },
		"a TTL to a peer":             func(c *Config) { c.Peers, c.TTL = []netip.Addr{hostB}, 1 },
		"an old unicast peer":         func(c *Config) { c.Version, c.Peers, c.Checksum = 3, []netip.Addr{hostB}, ChecksumGroup },
		"a group of one's own":        func(c *Config) { c.Group = netip.MustParseAddr("224.0.0.19") },
		"a gate":                      func(c *Config) { c.Mode = ModeGate },
		"a bound of a bound":          func(c *Config) { c.Version, c.MaxInterval = 3, time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := base()
			edit(&cfg)
			if err := cfg.Validate(); err != nil {
				t.Error(err)
			}
			if err := cfg.WithDefaults().Validate(); err != nil && cfg.WithDefaults().Version == Version3 && !cfg.IPv6() {
				t.Errorf("with its defaults: %v", err)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	c := Config{VRID: 1, VIPs: addrs("10.20.8.188")}.WithDefaults()
	if c.Version != 2 || c.Priority != 100 || c.Interval != time.Second || c.Group != group4() || c.Checksum != ChecksumMessage || c.DownAdverts != 3 {
		t.Errorf("the defaults are %+v", c)
	}
	if c := (Config{VRID: 1, VIPs: addrs("fd00:8::188")}).WithDefaults(); c.Version != 3 || c.Group != group6() || c.Checksum != ChecksumPseudo {
		t.Errorf("the defaults of IPv6 are %+v", c)
	}
}

func TestNewCodecNeedsAnAddress(t *testing.T) {
	for name, own := range map[string]netip.Addr{"none": {}, "one of the other family": hostA6, "a VIP": base().VIPs[0]} {
		if _, err := NewCodec(base(), own); err == nil {
			t.Errorf("%s: NewCodec(%s) succeeds", name, own)
		}
	}
	c := base()
	c.Peers = []netip.Addr{hostA}
	if _, err := NewCodec(c, hostA); err == nil || !strings.Contains(err.Error(), "this host itself") {
		t.Errorf("NewCodec with a peer that turns out to be ourselves: %v", err)
	}
}
