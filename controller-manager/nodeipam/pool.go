package nodeipam

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// pool is one range that is cut into equal ones.
type pool struct {
	whole netip.Prefix
	bits  int // of a part
	avoid []netip.Prefix
}

func newPool(whole netip.Prefix, bits int, avoid []netip.Prefix) (pool, error) {
	if bits < whole.Bits() || bits > whole.Addr().BitLen() {
		return pool{}, fmt.Errorf("a node's range of /%d does not fit into %s", bits, whole)
	}
	if bits-whole.Bits() > 16 {
		return pool{}, fmt.Errorf("%s in parts of /%d are more than 65536 ranges", whole, bits)
	}
	return pool{whole, bits, avoid}, nil
}

// size is how many parts there are.
func (p pool) size() int { return 1 << (p.bits - p.whole.Bits()) }

// part answers the i-th part.
func (p pool) part(i int) netip.Prefix {
	address := p.whole.Addr()
	shift := address.BitLen() - p.bits
	if address.Is4() {
		raw := address.As4()
		binary.BigEndian.PutUint32(raw[:], binary.BigEndian.Uint32(raw[:])|uint32(i)<<shift)
		return netip.PrefixFrom(netip.AddrFrom4(raw), p.bits)
	}
	raw := address.As16()
	// At most 16 bits are set, anywhere in the 128: add them to the right half, the left half, or both.
	high, low := binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
	if shift >= 64 {
		high |= uint64(i) << (shift - 64)
	} else {
		low |= uint64(i) << shift
		if shift > 48 {
			high |= uint64(i) >> (64 - shift)
		}
	}
	binary.BigEndian.PutUint64(raw[:8], high)
	binary.BigEndian.PutUint64(raw[8:], low)
	return netip.PrefixFrom(netip.AddrFrom16(raw), p.bits)
}

// free answers the first part that overlaps none of used.
func (p pool) free(used []netip.Prefix) (netip.Prefix, bool) {
	taken := make([]bool, p.size())
	for _, list := range [][]netip.Prefix{used, p.avoid} {
		for _, u := range list {
			p.mark(taken, u)
		}
	}
	for i, t := range taken {
		if !t {
			return p.part(i), true
		}
	}
	return netip.Prefix{}, false
}

// mark notes the parts that u covers, of which it may be larger or smaller.
func (p pool) mark(taken []bool, u netip.Prefix) {
	if !p.whole.Overlaps(u) {
		return
	}
	if u.Bits() <= p.whole.Bits() {
		for i := range taken {
			taken[i] = true
		}
		return
	}
	for i := range taken {
		if p.part(i).Overlaps(u) {
			taken[i] = true
			if u.Bits() >= p.bits {
				return
			}
		}
	}
}
