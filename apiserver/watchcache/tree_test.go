package watchcache

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTreeAgainstAMap compares random changes with a map, and looks that old trees stay as they were.
func TestTreeAgainstAMap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var now *tree
	model := map[string]*Object{}
	type past struct {
		tree *tree
		keys []string
	}
	var snapshots []past
	for step := range 5000 {
		key := fmt.Sprintf("k%03d", random.IntN(400))
		if random.IntN(3) == 0 {
			now = now.without(byKey(key))
			delete(model, key)
		} else {
			o := &Object{Key: key, Revision: int64(step)}
			now = now.with(byKey(key), o)
			model[key] = o
		}
		if now.at(byKey(key)) != model[key] || now.len() != len(model) {
			t.Fatalf("step %d: %d objects, want %d", step, now.len(), len(model))
		}
		if step%100 == 0 {
			snapshots = append(snapshots, past{now, keysOf(now)})
			checkTree(t, now)
			from := fmt.Sprintf("k%03d", random.IntN(400))
			var rest []string
			now.from(byKey(from), func(o *Object) bool { rest = append(rest, o.Key); return true })
			all := keysOf(now)
			i, _ := slices.BinarySearch(all, from)
			if !slices.Equal(rest, all[i:]) || now.rank(byKey(from)) != i {
				t.Fatalf("step %d: from %s: %v, rank %d, want %d", step, from, rest, now.rank(byKey(from)), i)
			}
		}
	}
	for _, p := range snapshots {
		if !slices.Equal(keysOf(p.tree), p.keys) {
			t.Fatal("a snapshot has changed")
		}
	}
	built := make([]*Object, 1000)
	for i := range built {
		built[i] = &Object{Key: fmt.Sprintf("k%04d", i)}
	}
	checkTree(t, build(built))
}

func keysOf(t *tree) []string {
	var keys []string
	t.all(func(o *Object) bool { keys = append(keys, o.Key); return true })
	return keys
}

func checkTree(t *testing.T, n *tree) {
	t.Helper()
	if n == nil {
		return
	}
	l, r := n.left.len(), n.right.len()
	if n.size != l+r+1 || l+r >= 2 && (l > 3*r || r > 3*l) {
		t.Fatalf("sizes %d, %d, %d", l, n.size, r)
	}
	if !slices.IsSorted(keysOf(n)) {
		t.Fatal("not in order")
	}
	checkTree(t, n.left)
	checkTree(t, n.right)
}
