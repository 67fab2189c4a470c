package alloc

import (
	"encoding/binary"
	"math"
	"net/netip"
)

// span is a range of addresses: first to last can be given away, and dynamic is where those begin that nobody chooses.
type span struct {
	prefix               netip.Prefix
	first, dynamic, last netip.Addr
}

// staticShare is the part of a range that is left to those who choose: a sixteenth, between 16 and 256 addresses.
func staticShare(size uint64) uint64 {
	const least, most, share = 16, 256, 16
	if size <= least {
		return 0
	}
	return min(max(size/share, least), most)
}

func spanOf(p netip.Prefix) span {
	p = p.Masked()
	size := sizeOf(p)
	s := span{prefix: p, first: p.Addr().Next(), last: plus(p.Addr(), size-1)}
	if p.Addr().Is4() {
		// The last address of a network of the old kind is its broadcast address.
		s.last = s.last.Prev()
	}
	s.dynamic = plus(s.first, staticShare(size))
	return s
}

// sizeOf is how many addresses a prefix has, the largest number if there are more.
func sizeOf(p netip.Prefix) uint64 {
	bits := p.Addr().BitLen() - p.Bits()
	if bits >= 63 {
		return math.MaxInt64
	}
	return 1 << bits
}

// plus adds to an address; the sum of those in one prefix of at most 64 host bits does not leave its lower half.
func plus(a netip.Addr, n uint64) netip.Addr {
	if a.Is4() {
		b := a.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
		return netip.AddrFrom4(b)
	}
	b := a.As16()
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+n)
	return netip.AddrFrom16(b)
}

func minus(a, b netip.Addr) uint64 {
	if a.Is4() {
		x, y := a.As4(), b.As4()
		return uint64(binary.BigEndian.Uint32(x[:]) - binary.BigEndian.Uint32(y[:]))
	}
	x, y := a.As16(), b.As16()
	return binary.BigEndian.Uint64(x[8:]) - binary.BigEndian.Uint64(y[8:])
}

// random is an address of the dynamic part, or of the whole where there is none.
func (s span) random() netip.Addr {
	from := s.dynamic
	if s.last.Less(from) {
		from = s.first
	}
	if s.last.Less(from) {
		return s.prefix.Addr()
	}
	return plus(from, random(minus(s.last, from)+1))
}

// parts are the dynamic part and then the static one, each from its first to its last address.
func (s span) parts() [][2]netip.Addr {
	if s.last.Less(s.dynamic) {
		return [][2]netip.Addr{{s.first, s.last}}
	}
	return [][2]netip.Addr{{s.dynamic, s.last}, {s.first, s.dynamic.Prev()}}
}
