package watchcache

// tree is an ordered set of objects that never changes: with and without return another one that shares all but the way
// from its root to the place of the change. So a snapshot is a pointer, a list that takes a minute disturbs nobody, and a
// paged list keeps only what has changed since. Every node knows its size, which makes remainingItemCount exact and cheap.
//
// It is balanced by weight (Adams; the factors 3 and 2 are those proved right by Hirai and Yamamoto). A B-tree would be
// read a little faster and copies some 2 kB a change instead of 0.8.
type tree struct {
	object      *Object
	left, right *tree
	size        int
}

// order compares a place, which an implementation of it knows, with an object: negative if the place comes first.
type order func(o *Object) int

func (t *tree) len() int {
	if t == nil {
		return 0
	}
	return t.size
}

// at is the object at a place, or nil.
func (t *tree) at(place order) *Object {
	for t != nil {
		switch c := place(t.object); {
		case c < 0:
			t = t.left
		case c > 0:
			t = t.right
		default:
			return t.object
		}
	}
	return nil
}

// rank is how many objects come before a place.
func (t *tree) rank(place order) int {
	n := 0
	for t != nil {
		if place(t.object) <= 0 {
			t = t.left
		} else {
			n += t.left.len() + 1
			t = t.right
		}
	}
	return n
}

// from calls yield for the objects at and after a place, in order, until it returns false.
func (t *tree) from(place order, yield func(*Object) bool) bool {
	if t == nil {
		return true
	}
	if place(t.object) <= 0 {
		return t.left.from(place, yield) && yield(t.object) && t.right.all(yield)
	}
	return t.right.from(place, yield)
}

func (t *tree) all(yield func(*Object) bool) bool {
	return t == nil || t.left.all(yield) && yield(t.object) && t.right.all(yield)
}

// with is t and an object at a place; it takes the place of the object that is there.
func (t *tree) with(place order, o *Object) *tree {
	if t == nil {
		return &tree{object: o, size: 1}
	}
	switch c := place(t.object); {
	case c < 0:
		return balance(t.object, t.left.with(place, o), t.right)
	case c > 0:
		return balance(t.object, t.left, t.right.with(place, o))
	}
	return &tree{object: o, left: t.left, right: t.right, size: t.size}
}

// without is t but for the object at a place.
func (t *tree) without(place order) *tree {
	if t == nil {
		return nil
	}
	switch c := place(t.object); {
	case c < 0:
		return balance(t.object, t.left.without(place), t.right)
	case c > 0:
		return balance(t.object, t.left, t.right.without(place))
	}
	if t.left == nil {
		return t.right
	}
	if t.right == nil {
		return t.left
	}
	next, right := t.right.popFirst()
	return balance(next, t.left, right)
}

func (t *tree) popFirst() (*Object, *tree) {
	if t.left == nil {
		return t.object, t.right
	}
	first, left := t.left.popFirst()
	return first, balance(t.object, left, t.right)
}

func join(o *Object, left, right *tree) *tree {
	return &tree{object: o, left: left, right: right, size: left.len() + right.len() + 1}
}

// balance joins two trees of which one is at most one change away from balance.
func balance(o *Object, left, right *tree) *tree {
	l, r := left.len(), right.len()
	switch {
	case l+r < 2:
	case r > 3*l:
		if right.left.len() < 2*right.right.len() {
			return join(right.object, join(o, left, right.left), right.right)
		}
		return join(right.left.object, join(o, left, right.left.left), join(right.object, right.left.right, right.right))
	case l > 3*r:
		if left.right.len() < 2*left.left.len() {
			return join(left.object, left.left, join(o, left.right, right))
		}
		return join(left.right.object, join(left.object, left.left, left.right.left), join(o, left.right.right, right))
	}
	return join(o, left, right)
}

// build makes a tree of objects that are in order.
func build(sorted []*Object) *tree {
	if len(sorted) == 0 {
		return nil
	}
	middle := len(sorted) / 2
	return join(sorted[middle], build(sorted[:middle]), build(sorted[middle+1:]))
}
