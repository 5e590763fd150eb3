package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"leasehold/vrrpcompat"
)

// Defaults of a vrrp section; those of the router itself are package vrrpcompat's.
const (
	// defaultVRRPTTL is what keepalived sends to a unicast peer over IPv4, and what
	// reaches one through routers over IPv6 too, where its 64 might not.
	defaultVRRPTTL = 255
	// longestStartupDelay is the longest that leasehold import takes over.
	longestStartupDelay = time.Hour
)

// VRRP is the vrrp section of a service: the VRRP router that its nodes are beside
// keepalived.
type VRRP struct {
	// Router has no password: (*Service).router reads it. A zero stands for package
	// vrrpcompat's default.
	Router       vrrpcompat.Config
	Interface    string        // where adverts are heard and sent
	PasswordFile *SecretFile   // nil: no authentication
	StartupDelay time.Duration // how long after the daemon's start the router stays down
	TTL          uint8         // of the adverts to unicast peers
	VMAC         bool          // use_vmac
	Excluded     []netip.Addr  // VIPs that are not advertised

	line   int
	lines  map[string]int // of its keys
	broken bool           // something in it could not be read, so the rest says little
}

// at returns the line that a key is written on; the section's when it is not.
func (v *VRRP) at(key string) int {
	if line, ok := v.lines[key]; ok {
		return line
	}
	return v.line
}

// gate reports whether the node only listens.
func (v *VRRP) gate() bool { return v.Router.Mode == vrrpcompat.ModeGate }

// patience is how long after an advert of ours the quickest keepalived takes over:
// the Active_Down_Interval of the highest priority, as others are not known.
func (v *VRRP) patience() time.Duration {
	c := v.Router.WithDefaults()
	return vrrpcompat.ActiveDownInterval(c.Version, vrrpcompat.PriorityOwner, c.Interval, c.DownAdverts)
}

// spare is what is left of patience when the next advert is due, behind a guard of
// the given lateness; see the ttl's.
func (v *VRRP) spare(late time.Duration) time.Duration {
	return v.patience() - late - v.Router.WithDefaults().Interval
}

// needsFence reports whether lifetimes alone cannot take the VIP from a killed or
// frozen daemon before a keepalived takes over: they are whole seconds, and each
// must last until the next advert.
func (v *VRRP) needsFence() bool {
	return v != nil && !v.gate() && v.spare(lifetimeLateness) < lifetimeUnit
}

// fill sets what follows from the VIPs of the service: those that are advertised,
// in their order, and the interface.
func (v *VRRP) fill(vips []VIP) {
	v.Router.VIPs = nil
	for _, one := range vips {
		if a := one.Spec.Prefix.Addr(); !slices.Contains(v.Excluded, a) {
			v.Router.VIPs = append(v.Router.VIPs, a)
			if v.Interface == "" {
				v.Interface = one.Spec.Device
			}
		}
	}
}

// router returns the VRRP router of a service that has one, with its password read.
func (s *Service) router(file string, getenv func(string) string) (vrrpcompat.Config, Problems) {
	c, err := s.VRRP.withPassword(getenv)
	if err != nil {
		return vrrpcompat.Config{}, Problems{{file, s.VRRP.PasswordFile.Line, fmt.Sprintf("services.%s.vrrp.auth.password_file: %v", s.Name, err)}}
	}
	return c, nil
}

// withPassword returns the router with its password, where it has one.
func (v *VRRP) withPassword(getenv func(string) string) (vrrpcompat.Config, error) {
	c := v.Router
	if v.PasswordFile == nil {
		return c, nil
	}
	secret, err := v.PasswordFile.Read(getenv)
	if err != nil {
		return vrrpcompat.Config{}, err
	}
	c.Auth.Password = secret.Reveal()
	return c, c.Validate()
}

// vmac returns the interface that the advertised VIPs go on with use_vmac; "" without.
func (v *VRRP) vmac() string {
	if v == nil || !v.VMAC {
		return ""
	}
	return vrrpcompat.VMACName(v.Router.VRID, v.Router.IPv6())
}

// placeOnVMAC puts the advertised VIPs on that interface, which the daemon makes. A
// label names its interface, so it changes as well.
func (s *Service) placeOnVMAC() {
	dev := s.VRRP.vmac()
	if dev == "" {
		return
	}
	for i := range s.VIPs {
		sp := &s.VIPs[i].Spec
		if sp.Device != s.VRRP.Interface || !slices.Contains(s.VRRP.Router.VIPs, sp.Prefix.Addr()) {
			continue
		}
		if rest, ok := strings.CutPrefix(sp.Label, sp.Device); ok {
			sp.Label = dev + rest
		}
		sp.Device = dev
	}
}
