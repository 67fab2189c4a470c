package fairness

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/apiserver/request"
)

// RetryAfter is the number of seconds after which a refused client should come again.
const RetryAfter = 1

// ErrRejected is the answer to requests that found no room, or waited for too long.
var ErrRejected = errors.New("too many requests")

// Request is what a request is classified by.
type Request struct {
	User *request.User
	Info *request.Info
}

// Place is a seat, or nothing for those who need none.
type Place struct {
	// SchemaUID and LevelUID name what the request was classified by, for the answer's headers.
	SchemaUID, LevelUID string
	leave               func()
}

// Leave gives the seat back; only the first call counts.
func (p *Place) Leave() {
	if p.leave != nil {
		p.leave()
	}
}

// Gate hands out the seats of one server.
type Gate struct {
	seats int

	mu      sync.Mutex
	schemas []schema // by precedence
	levels  map[string]*level
	// running is the number of seats in use by all levels that are limited.
	running int
}

// New makes a gate for a number of requests in flight (upstream's --max-requests-inflight and
// --max-mutating-requests-inflight together). Until it is configured everybody passes but is counted.
func New(seats int) *Gate {
	g := &Gate{seats: seats, levels: map[string]*level{}}
	g.Configure(nil, nil)
	return g
}

// level is a priority level at work.
type level struct {
	name    string
	uid     types.UID
	exempt  bool
	nominal int
	// keeps is the part of nominal that is never lent; limit bounds what may be borrowed on top of nominal.
	keeps, limit int
	queue        bool
	flowLimit    int
	waitLimit    int

	running int
	waiting int
	flows   map[string]*flow
	ring    []*flow // flows that have somebody waiting
}

type flow struct {
	key     string
	running int
	waiting []*waiter
}

type waiter struct {
	ready chan struct{} // closed when seated
}

// maxWait is upstream's: a quarter of the longest request.
const maxWait = 15 * time.Second

// Enter waits for a seat.
func (g *Gate) Enter(ctx context.Context, r Request) (Place, error) {
	g.mu.Lock()
	s := g.classify(r)
	l := g.levels[s.level]
	place := Place{SchemaUID: string(s.uid), LevelUID: string(l.uid)}
	if l.exempt {
		g.mu.Unlock()
		return place, nil
	}
	key := s.name + "\x00" + s.flow(r)
	f := l.flows[key]
	if f == nil {
		f = &flow{key: key}
		l.flows[key] = f
	}
	place.leave = sync.OnceFunc(func() { g.leave(l, f) })
	if l.waiting == 0 && g.room(l) {
		g.seat(l, f)
		g.mu.Unlock()
		return place, nil
	}
	if !l.queue || len(f.waiting) >= l.flowLimit || l.waiting >= l.waitLimit {
		l.forget(f)
		g.mu.Unlock()
		place.leave = nil
		return place, ErrRejected
	}
	wait := &waiter{ready: make(chan struct{})}
	if len(f.waiting) == 0 {
		l.ring = append(l.ring, f)
	}
	f.waiting = append(f.waiting, wait)
	l.waiting++
	g.mu.Unlock()

	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case <-wait.ready:
		return place, nil
	case <-ctx.Done():
	case <-timer.C:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-wait.ready: // seated while giving up: the seat is kept, and given back at once by the request's end
		return place, nil
	default:
	}
	l.drop(f, wait)
	place.leave = nil
	return place, ErrRejected
}

func (g *Gate) seat(l *level, f *flow) {
	l.running++
	f.running++
	g.running++
}

func (g *Gate) leave(l *level, f *flow) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.running--
	f.running--
	g.running--
	l.forget(f)
	g.wake(l)
	// A seat that was borrowed, or lent, may be what another level waits for.
	for _, other := range g.levels {
		if other != l && other.waiting > 0 {
			g.wake(other)
		}
	}
}

// room says whether a level may take one more seat: its own, or one that others lend and do not use.
func (g *Gate) room(l *level) bool {
	if l.running < l.nominal {
		return true
	}
	if l.running >= l.limit {
		return false
	}
	reserved := 0
	for _, other := range g.levels {
		if other != l && !other.exempt {
			reserved += max(0, other.keeps-other.running)
		}
	}
	return g.running+reserved < g.seats
}

// wake seats those who wait: first of the flow that holds the fewest seats, and among equals in turn.
func (g *Gate) wake(l *level) {
	for l.waiting > 0 && g.room(l) {
		best := 0
		for i, f := range l.ring {
			if f.running < l.ring[best].running {
				best = i
			}
		}
		f := l.ring[best]
		wait := f.waiting[0]
		f.waiting = f.waiting[1:]
		l.waiting--
		l.ring = append(l.ring[:best], l.ring[best+1:]...)
		if len(f.waiting) > 0 {
			l.ring = append(l.ring, f)
		}
		g.seat(l, f)
		close(wait.ready)
	}
}

// drop takes somebody out of the line who waits no longer.
func (l *level) drop(f *flow, wait *waiter) {
	for i, w := range f.waiting {
		if w != wait {
			continue
		}
		f.waiting = append(f.waiting[:i], f.waiting[i+1:]...)
		l.waiting--
		break
	}
	if len(f.waiting) == 0 {
		for i, r := range l.ring {
			if r == f {
				l.ring = append(l.ring[:i], l.ring[i+1:]...)
				break
			}
		}
	}
	l.forget(f)
}

// forget drops a flow that neither runs nor waits.
func (l *level) forget(f *flow) {
	if f.running == 0 && len(f.waiting) == 0 {
		delete(l.flows, f.key)
	}
}

// Configure replaces the configuration. Requests that run or wait go on in the levels they are in.
func (g *Gate) Configure(schemas []*flowcontrolv1.FlowSchema, levels []*flowcontrolv1.PriorityLevelConfiguration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := map[string]*level{}
	total := 0
	levels = withMandatory(levels)
	for _, cfg := range levels {
		total += shares(cfg)
	}
	for _, cfg := range levels {
		l := g.levels[cfg.Name]
		if l == nil {
			l = &level{name: cfg.Name, flows: map[string]*flow{}}
		}
		l.configure(cfg, g.seats, total)
		next[cfg.Name] = l
	}
	// A level that was deleted lives on until the last of its requests has left; nobody new gets in.
	g.levels = next
	g.schemas = sortSchemas(schemas, next)
	for _, l := range next {
		g.wake(l)
	}
}

func (l *level) configure(cfg *flowcontrolv1.PriorityLevelConfiguration, seats, total int) {
	l.uid = cfg.UID
	l.exempt = cfg.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt
	if l.exempt || cfg.Spec.Limited == nil {
		return
	}
	limited := cfg.Spec.Limited
	l.nominal = int(math.Ceil(float64(seats) * float64(shares(cfg)) / float64(max(total, 1))))
	l.keeps, l.limit = l.nominal, seats
	if p := limited.LendablePercent; p != nil {
		l.keeps = l.nominal - int(math.Round(float64(l.nominal)*float64(*p)/100))
	}
	if p := limited.BorrowingLimitPercent; p != nil {
		l.limit = l.nominal + int(math.Round(float64(l.nominal)*float64(*p)/100))
	}
	l.queue = limited.LimitResponse.Type == flowcontrolv1.LimitResponseTypeQueue
	l.flowLimit, l.waitLimit = 0, 0
	if q := limited.LimitResponse.Queuing; l.queue && q != nil {
		// Upstream bounds each of its queues; a flow there is spread over handSize of them.
		l.flowLimit = int(q.QueueLengthLimit) * int(max(q.HandSize, 1))
		l.waitLimit = int(q.QueueLengthLimit) * int(max(q.Queues, 1))
	}
}

func shares(cfg *flowcontrolv1.PriorityLevelConfiguration) int {
	if l := cfg.Spec.Limited; l != nil && l.NominalConcurrencyShares != nil {
		return int(*l.NominalConcurrencyShares)
	}
	return 0
}

// Stats are a level's numbers for metrics.
type Stats struct {
	Level                            string
	Running, Waiting, Nominal, Limit int
}

// Stats tells about each level.
func (g *Gate) Stats() []Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Stats, 0, len(g.levels))
	for _, l := range g.levels {
		out = append(out, Stats{Level: l.name, Running: l.running, Waiting: l.waiting, Nominal: l.nominal, Limit: l.limit})
	}
	return out
}
