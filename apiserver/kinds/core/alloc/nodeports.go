package alloc

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// ErrPortTaken: the port is somebody else's.
var ErrPortTaken = errors.New("provided port is already allocated")

// portObject is the name of the object whose bits are the ports.
const portObject = "servicenodeports"

// NodePorts hands out ports of the nodes. Like ClusterIPs it keeps nothing.
type NodePorts struct {
	base, size int
}

// NewNodePorts makes an allocator for a range "FROM-TO".
func NewNodePorts(portRange string) (*NodePorts, error) {
	from, to, ok := strings.Cut(portRange, "-")
	low, err1 := strconv.Atoi(strings.TrimSpace(from))
	high, err2 := strconv.Atoi(strings.TrimSpace(to))
	if !ok || err1 != nil || err2 != nil || low < 1 || high > 65535 || low > high {
		return nil, fmt.Errorf("range of node ports %q: want FROM-TO within 1-65535", portRange)
	}
	return &NodePorts{base: low, size: high - low + 1}, nil
}

// Range is the range as text.
func (p *NodePorts) Range() string { return fmt.Sprintf("%d-%d", p.base, p.base+p.size-1) }

func kindOf(store kinds.Store) *kinds.Kind { return store.Kind(corev1.Resource("rangeallocations")) }

// Take reserves ports that a client chose; at most one error, with the port that it is about.
func (p *NodePorts) Take(ctx context.Context, store kinds.Store, port int, dryRun bool) error {
	i := port - p.base
	if i < 0 || i >= p.size {
		if dryRun {
			// Upstream looks at the range only when it takes the port.
			return nil
		}
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %s", p.Range())
	}
	return p.change(ctx, store, dryRun, func(bits *big.Int) error {
		if bits.Bit(i) == 1 {
			return ErrPortTaken
		}
		bits.SetBit(bits, i, 1)
		return nil
	})
}

// staticPorts is the part of the range that is left to those who choose: 1/32, between 16 and 128 ports.
func (p *NodePorts) staticPorts() int {
	if p.size <= 16 {
		return 0
	}
	return min(max(p.size/32, 16), 128)
}

// Next reserves some free port. skip says which ones the caller has taken already without writing them (dry run).
func (p *NodePorts) Next(ctx context.Context, store kinds.Store, skip func(port int) bool, dryRun bool) (int, error) {
	found := 0
	err := p.change(ctx, store, dryRun, func(bits *big.Int) error {
		free := func(i int) bool { return bits.Bit(i) == 0 && (skip == nil || !skip(p.base+i)) }
		static := p.staticPorts()
		start := int(random(uint64(p.size - static)))
		for k := range p.size - static {
			if i := static + (start+k)%(p.size-static); free(i) {
				found = p.base + i
				bits.SetBit(bits, i, 1)
				return nil
			}
		}
		for i := range static {
			if free(i) {
				found = p.base + i
				bits.SetBit(bits, i, 1)
				return nil
			}
		}
		return ErrFull
	})
	return found, err
}

// Release gives ports back.
func (p *NodePorts) Release(ctx context.Context, store kinds.Store, ports ...int) error {
	if len(ports) == 0 {
		return nil
	}
	return p.change(ctx, store, false, func(bits *big.Int) error {
		for _, port := range ports {
			if i := port - p.base; i >= 0 && i < p.size {
				bits.SetBit(bits, i, 0)
			}
		}
		return nil
	})
}

// change applies f to the bits as often as it takes. An error of f is returned as it is, and nothing is written.
func (p *NodePorts) change(ctx context.Context, store kinds.Store, dryRun bool, f func(*big.Int) error) error {
	kind := kindOf(store)
	var refused error
	apply := func(r *corev1.RangeAllocation) error {
		bits := new(big.Int)
		// Bits of another range mean other ports: they are counted anew by Repair.
		if r.Range == p.Range() {
			bits.SetBytes(r.Data)
		}
		if refused = f(bits); refused != nil {
			return refused
		}
		r.Name, r.Range, r.Data = portObject, p.Range(), bits.Bytes()
		return nil
	}
	for {
		_, err := store.Update(ctx, kind, "", portObject, dryRun, func(o runtime.Object) error { return apply(o.(*corev1.RangeAllocation)) })
		if refused != nil {
			return refused
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
		fresh := &corev1.RangeAllocation{ObjectMeta: metav1.ObjectMeta{Name: portObject}}
		if err := apply(fresh); err != nil {
			return err
		}
		if dryRun {
			return nil
		}
		if _, err := store.Create(ctx, kind, fresh, false); !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
}
