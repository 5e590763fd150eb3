package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Claim sends one gratuitous ARP request for an IPv4 address from a host, whether
// or not it has it: what a host sends that believes it does, RFC 5227 section 3.
func (l *Lab) Claim(host string, ip netip.Addr) error {
	s, err := l.net.seat(host)
	if err != nil {
		return err
	}
	link, err := s.nl.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("claim %s from host %s: %w", ip, host, err)
	}
	mac := s.MAC()
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_ARP)
	f = append(f, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, request
	f = append(append(f, mac...), ip.AsSlice()...)
	f = append(append(f, 0, 0, 0, 0, 0, 0), ip.AsSlice()...)
	err = s.ns.do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		to := &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: htons(unix.ETH_P_ARP)}
		return errors.Join(unix.Sendto(fd, f, 0, to), unix.Close(fd))
	})
	if err != nil {
		return fmt.Errorf("claim %s from host %s: %w", ip, host, err)
	}
	return nil
}
