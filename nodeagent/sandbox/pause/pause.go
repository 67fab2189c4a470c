package pause

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// base is where the one segment, headers included, is loaded.
const base = 0x400000

const (
	headerSize  = 64
	segmentSize = 56
	headers     = headerSize + 2*segmentSize
)

// ignore is the kernel's struct sigaction: handler SIG_IGN, no flags, no restorer, empty mask.
var ignore = []uint64{1, 0, 0, 0}

// amd64: rt_sigaction(SIGCHLD, ignore, 0, 8), then pause() for ever.
var amd64 = []byte{
	0xb8, 13, 0, 0, 0, // mov eax, 13 (rt_sigaction)
	0xbf, 17, 0, 0, 0, // mov edi, SIGCHLD
	0x48, 0x8d, 0x35, 23, 0, 0, 0, // lea rsi, [rip+23] (ignore)
	0x31, 0xd2, // xor edx, edx
	0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
	0x0f, 0x05, // syscall
	0xb8, 34, 0, 0, 0, // again: mov eax, 34 (pause)
	0x0f, 0x05, // syscall
	0xeb, 0xf7, // jmp again
	0xcc, 0xcc, 0xcc, 0xcc, // up to the next multiple of eight
}

// arm64: the same with ppoll(0, 0, 0, 0, 0), for there is no pause().
var arm64 = []uint32{
	0xd2800220, // mov x0, #17 (SIGCHLD)
	0x100001a1, // adr x1, ignore
	0xd2800002, // mov x2, #0
	0xd2800103, // mov x3, #8
	0xd28010c8, // mov x8, #134 (rt_sigaction)
	0xd4000001, // svc #0
	0xd2800000, // again: mov x0, #0
	0xd2800001, // mov x1, #0
	0xd2800002, // mov x2, #0
	0xd2800003, // mov x3, #0
	0xd2800004, // mov x4, #0
	0xd2800928, // mov x8, #73 (ppoll)
	0xd4000001, // svc #0
	0x17fffff9, // b again
}

// Program is the executable for a processor, named as Go does.
func Program(arch string) ([]byte, error) {
	var code bytes.Buffer
	machine := elf.EM_X86_64
	switch arch {
	case "amd64":
		code.Write(amd64)
	case "arm64":
		machine = elf.EM_AARCH64
		binary.Write(&code, binary.LittleEndian, arm64)
	default:
		return nil, fmt.Errorf("no built-in pause program for %s: build cmd/pause and name it", arch)
	}
	binary.Write(&code, binary.LittleEndian, ignore)
	size := uint64(headers + code.Len())

	var out bytes.Buffer
	put := func(v any) { binary.Write(&out, binary.LittleEndian, v) }
	put(elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: base + headers, Phoff: headerSize, Ehsize: headerSize, Phentsize: segmentSize, Phnum: 2,
	})
	put(elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
		Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: 0x10000, // the largest page size of arm64
	})
	put(elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W), Align: 16})
	out.Write(code.Bytes())
	return out.Bytes(), nil
}
