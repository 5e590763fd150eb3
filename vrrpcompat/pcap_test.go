package vrrpcompat

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// frames reads a classic pcap of Ethernet frames, pcap-savefile(5).
func frames(tb testing.TB, file string) [][]byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		tb.Fatal(err)
	}
	if len(b) < 24 || binary.LittleEndian.Uint32(b) != 0xa1b2c3d4 || binary.LittleEndian.Uint32(b[20:]) != 1 {
		tb.Fatalf("%s is no little-endian pcap of Ethernet", file)
	}
	var all [][]byte
	for b = b[24:]; len(b) >= 16; {
		n := int(binary.LittleEndian.Uint32(b[8:]))
		all = append(all, b[16:16+n])
		b = b[16+n:]
	}
	if len(all) == 0 {
		tb.Fatalf("%s is empty", file)
	}
	return all
}

// packet returns what a raw socket would see of a frame, and its family; false
// where it is not for protocol 112 or 51.
func packet(frame []byte) (p Packet, v6, ok bool) {
	body := frame[14:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		return Packet{Data: body}, false, body[ipProtocol] == protocolVRRP || body[ipProtocol] == protocolAH
	case 0x86dd:
		n := int(binary.BigEndian.Uint16(body[4:]))
		return Packet{
			Data: body[40 : 40+n], HopLimit: body[7],
			Src: netip.AddrFrom16([16]byte(body[8:])), Dst: netip.AddrFrom16([16]byte(body[24:])),
		}, true, body[6] == protocolVRRP
	}
	return Packet{}, false, false
}

// adverts returns the packets of a capture that are for us.
func adverts(tb testing.TB, file string) []Packet {
	tb.Helper()
	var all []Packet
	for _, f := range frames(tb, file) {
		if p, _, ok := packet(f); ok {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		tb.Fatalf("%s has no adverts", file)
	}
	return all
}
