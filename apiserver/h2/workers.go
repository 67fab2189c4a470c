package h2

import "sync/atomic"

// workers run requests on goroutines that are kept. A new one has a stack of a few kilobytes, and a write grows it four times on
// its way down through admission, validation and the encoders; to copy a deep stack costs more than to hand a request over.
type workers struct {
	work chan *stream
	stop chan struct{}
	kept atomic.Int32
}

// mostKept bounds the goroutines that wait for work. The garbage collector shrinks their stacks when there is none.
const mostKept = 64

// run lets a request be answered, and returns at once.
func (w *workers) run(s *stream) {
	select {
	case w.work <- s:
	default:
		go w.keep(s)
	}
}

// keep answers one request, and those that follow if not too many others wait for them.
func (w *workers) keep(s *stream) {
	s.run()
	if w.kept.Add(1) > mostKept {
		w.kept.Add(-1)
		return
	}
	defer w.kept.Add(-1)
	for {
		select {
		case s := <-w.work:
			s.run()
		case <-w.stop:
			return
		}
	}
}
