package main

import (
	"net/netip"

	"github.com/hashicorp/go-hclog"

	"leasehold/internal/node"
	"leasehold/vrrpcompat"
)

// beside makes the router of a service that has one, for its loop; nil where it has
// none.
func (u *unit) beside(cfg *Config, s *Service, getenv func(string) string, log hclog.Logger) (node.Router, Problems, error) {
	if s.VRRP == nil {
		return nil, nil, nil
	}
	c, bad := s.router(cfg.File, getenv)
	if len(bad) > 0 {
		return nil, bad, nil
	}
	c.TTL = s.VRRP.TTL
	var vips []netip.Addr
	for _, v := range s.VIPs {
		vips = append(vips, v.Spec.Prefix.Addr())
	}
	r, err := vrrpcompat.NewRouter(vrrpcompat.RouterConfig{
		Config: c, Interface: s.VRRP.Interface, VMAC: s.VRRP.VMAC, StartupDelay: s.VRRP.StartupDelay, Except: vips, Log: log,
	})
	if err != nil {
		return nil, nil, err
	}
	u.router = r
	return r, nil, nil
}
