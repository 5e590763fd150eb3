package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// askers is how many sender addresses the ARP prober uses in turn, so that an
// answer, which goes to the sender address, says which probe it is for.
const askers = 50

// ARPProber asks everybody who has the VIP, at a steady pace, from a seat of
// its own on the switch. It only asks; the Sniffer records what comes.
type ARPProber struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	end    func() error
}

// StartARPProber begins to ask for an address, the lab's VIP when it is the zero
// Addr, every so often (10 ms when it is 0), until it is stopped or the lab
// closes: by ARP for IPv4, by neighbour solicitations for IPv6. The sender
// addresses are those whose last octet is 200 and more, and which no host has.
func (l *Lab) StartARPProber(vip netip.Addr, every time.Duration) (*ARPProber, error) {
	if !vip.IsValid() {
		vip = l.VIP.Addr()
	}
	if every == 0 {
		every = 10 * time.Millisecond
	}
	s, err := l.net.seat(observer)
	if err != nil {
		return nil, err
	}
	link, err := s.nl.LinkByName("eth0")
	if err != nil {
		return nil, fmt.Errorf("start the ARP prober: %w", err)
	}
	var fd int
	err = s.ns.do(func() error {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start the ARP prober: open a packet socket: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &ARPProber{cancel: cancel, done: make(chan struct{})}
	to := &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: htons(unix.ETH_P_ARP)}
	if vip.Is6() {
		to.Protocol = htons(unix.ETH_P_IPV6)
	}
	go func() {
		defer close(p.done)
		p.err = errors.Join(ask(ctx, fd, to, l.questions(vip, s.MAC()), every), unix.Close(fd))
	}()
	p.end = sync.OnceValue(func() error { cancel(); <-p.done; return p.err })
	if err := l.onClose(p.end); err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

// Stop ends the prober.
func (p *ARPProber) Stop() error { return p.end() }

func ask(ctx context.Context, fd int, to unix.Sockaddr, questions [][]byte, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := unix.Sendto(fd, questions[i%len(questions)], 0, to); err != nil {
			return fmt.Errorf("send an ARP request: %w", err)
		}
	}
}

// questions returns the frames that the prober sends in turn.
func (l *Lab) questions(vip netip.Addr, mac net.HardwareAddr) [][]byte {
	var frames [][]byte
	ip := vip.AsSlice()
	for last := byte(200); len(frames) < askers && last < 255; last++ {
		ip[len(ip)-1] = last
		from, _ := netip.AddrFromSlice(ip)
		taken := func(s *seat) bool { return s.Addr.Addr() == from || s.Addr6.Addr() == from }
		if from == vip || slices.ContainsFunc(l.net.seats, taken) {
			continue
		}
		if vip.Is6() {
			frames = append(frames, solicit(mac, from, vip))
			continue
		}
		f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
		f = binary.BigEndian.AppendUint16(f, unix.ETH_P_ARP)
		f = append(f, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, request
		f = append(append(f, mac...), from.AsSlice()...)
		f = append(append(f, 0, 0, 0, 0, 0, 0), vip.AsSlice()...)
		frames = append(frames, f)
	}
	return frames
}

// ARPAnswer is one question of the ARP prober and who answered it.
type ARPAnswer struct {
	Asked time.Time
	By    []Claimant // in the order of answering
}

// Claimant is a host that said it has the VIP.
type Claimant struct {
	Host string
	MAC  string
	At   time.Time
}

// Dual reports whether more than one host, or MAC, answered the same question.
func (a ARPAnswer) Dual() bool { return len(a.By) > 1 }

// ARPAnswers returns the questions for ip among frames and who answered each. A
// host that answered twice from the same MAC is one claimant.
func ARPAnswers(frames []ARPFrame, ip netip.Addr) []ARPAnswer {
	var answers []ARPAnswer
	latest := map[netip.Addr]int{} // the latest question of each sender address
	for _, f := range frames {
		if f.Port == observer && f.TargetIP == ip {
			latest[f.SenderIP] = len(answers)
			answers = append(answers, ARPAnswer{Asked: f.At})
			continue
		}
		i, asked := latest[f.TargetIP]
		if !asked || !f.Reply || !f.Claims(ip) {
			continue
		}
		known := slices.ContainsFunc(answers[i].By, func(c Claimant) bool { return c.Host == f.Port && c.MAC == f.SenderMAC })
		if !known {
			answers[i].By = append(answers[i].By, Claimant{Host: f.Port, MAC: f.SenderMAC, At: f.At})
		}
	}
	return answers
}

// AnswerProbes makes probes of questions, for Summarize: whoever answered first is
// who answered.
func AnswerProbes(answers []ARPAnswer) []Probe {
	probes := make([]Probe, len(answers))
	for i, a := range answers {
		probes[i].Sent = a.Asked
		if len(a.By) > 0 {
			probes[i].Answered, probes[i].By = a.By[0].At, a.By[0].Host
		}
	}
	return probes
}
