package vrrpcompat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// silenceReports keeps the reports of multicast groups in that an interface would
// send: an IPv6 VIP that is removed leaves its group, and that frame, with the
// virtual MAC address, would draw the VIP's traffic to this host until the new
// Active router sends its next advert. Nothing else that the interface sends by
// itself is of these protocols.
//
// The filter goes with the interface. It is classic BPF, for which CAP_NET_ADMIN
// is enough.
func silenceReports(index int) error {
	const text = "keep group reports in: %s: %w: they would draw the VIPs' traffic to a Backup; load the modules (modprobe sch_ingress cls_bpf), or take use_vmac out"
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf(text, "add a clsact qdisc", err)
	}
	// Behind the filters of the fence, which begin at priority 1.
	const priority, handle = 0xfff0, 1
	req := nl.NewNetlinkRequest(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{
		Family: unix.AF_UNSPEC, Ifindex: int32(index), Parent: netlink.HANDLE_MIN_EGRESS, Handle: handle,
		Info: netlink.MakeHandle(priority, nl.Swap16(unix.ETH_P_ALL)),
	})
	var ops bytes.Buffer
	for _, i := range noReports() {
		ops.Write(binary.NativeEndian.AppendUint16(nil, i.Code))
		ops.Write([]byte{i.Jt, i.Jf})
		ops.Write(binary.NativeEndian.AppendUint32(nil, i.K))
	}
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bpf")))
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_BPF_OPS_LEN, nl.Uint16Attr(uint16(len(noReports()))))
	options.AddRtAttr(nl.TCA_BPF_OPS, ops.Bytes())
	options.AddRtAttr(nl.TCA_BPF_FLAGS, nl.Uint32Attr(nl.TCA_BPF_FLAG_ACT_DIRECT))
	req.AddData(options)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf(text, "add a filter", err)
	}
	return nil
}

// noReports drops IGMP, and IPv6 packets with hop-by-hop options, as MLD has them
// (RFC 3810 section 5); the rest is for the next filter. It sees Ethernet frames.
func noReports() []unix.SockFilter {
	const (
		etherType = 12
		protocol  = 14 + ipProtocol
		next      = 14 + 6 // RFC 8200 section 3
		shot      = 2      // TC_ACT_SHOT, linux/pkt_cls.h
		unspec    = 0xffffffff
	)
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: etherType},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IPV6, Jt: 3},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IP, Jf: 5},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: protocol},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_IGMP, Jt: 2, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: next},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_HOPOPTS, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: shot},
		{Code: unix.BPF_RET | unix.BPF_K, K: unspec},
	}
}
