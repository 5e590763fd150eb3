package fence

import (
	"encoding/binary"

	"github.com/cilium/ebpf/asm"
)

// An assembler collects instructions. A label is for the next one that is added.
type assembler struct {
	ins   asm.Instructions
	label string
	mapFD int
}

func (a *assembler) at(label string) { a.label = label }

func (a *assembler) add(ins ...asm.Instruction) {
	if a.label != "" {
		ins[0] = ins[0].WithSymbol(a.label)
		a.label = ""
	}
	a.ins = append(a.ins, ins...)
}

// copyFrame copies n bytes of the frame to the stack, or jumps when the frame
// ends before. The helper reads paged frames too, unlike a pointer into them.
func (a *assembler) copyFrame(from int32, to int16, n int32, short string) {
	a.add(
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, from),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, int32(to)),
		asm.Mov.Imm(asm.R4, n),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, short),
	)
}

// unless jumps to miss when the copied bytes at off are not want.
func (a *assembler) unless(off int16, want []byte, miss string) {
	for len(want) > 0 {
		size, value, n := asm.Byte, uint32(want[0]), 1
		switch {
		case len(want) >= 4 && off%4 == 0:
			size, value, n = asm.Word, binary.NativeEndian.Uint32(want), 4
		case len(want) >= 2 && off%2 == 0:
			size, value, n = asm.Half, nativeHalf(want), 2
		}
		a.add(
			asm.LoadMem(asm.R1, asm.R10, off, size),
			asm.JNE.Imm32(asm.R1, int32(value), miss),
		)
		off, want = off+int16(n), want[n:]
	}
}

func nativeHalf(b []byte) uint32 { return uint32(binary.NativeEndian.Uint16(b)) }

// arp completes the copy of an ARP frame. It jumps to miss when it is none that
// resolves IPv4 on Ethernet.
func (a *assembler) arp(miss string) {
	a.unless(frame+12, []byte{0x08, 0x06}, miss)
	a.copyFrame(etherLen+ip4Len, network+ip4Len, arpLen-ip4Len, miss)
	a.unless(network+2, []byte{0x08, 0x00, 6, 4}, miss)
}

// passIfOpen goes on when the fence is shut.
func (a *assembler) passIfOpen(label string) {
	if label != "" {
		a.at(label)
	}
	a.add(
		asm.LoadMapValue(asm.R7, a.mapFD, 0),
		asm.FnKtimeGetBootNs.Call(),
		asm.LoadMem(asm.R1, asm.R7, offDeadline, asm.DWord),
		asm.JLT.Reg(asm.R0, asm.R1, "pass"),
	)
}

func (a *assembler) dropUnlessOpen(label string) {
	a.passIfOpen(label)
	a.add(asm.Mov.Imm(asm.R0, verdictDrop), asm.Return())
}

// passIfRST passes a segment whose flags, at the offset in R2, have RST, and
// drops every other.
func (a *assembler) passIfRST() {
	a.add(
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, scratch),
		asm.Mov.Imm(asm.R4, 1),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "drop"),
		asm.LoadMem(asm.R1, asm.R10, scratch, asm.Byte),
		asm.JSet.Imm(asm.R1, flagRST, "pass"),
	)
	a.at("drop")
	a.add(asm.Mov.Imm(asm.R0, verdictDrop), asm.Return())
}
