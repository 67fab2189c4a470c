package server

import "sync/atomic"

// deepStacks runs functions on goroutines that are kept. net/http makes a goroutine for each request of HTTP/2, with a
// stack of a few kilobytes; a write grows it four times on its way down through admission, validation and the encoders,
// and to copy a deep stack costs more than to hand the request over: 6 to 7% of the time of a write.
type deepStacks struct {
	work chan *job
	stop <-chan struct{}
	kept atomic.Int32
}

// mostKept bounds the goroutines that wait for work. The garbage collector shrinks their stacks when there is none.
const mostKept = 64

type job struct {
	f     func()
	panic any
	done  chan struct{}
}

// run calls f and returns, or panics, when f does.
func (d *deepStacks) run(f func()) {
	j := &job{f: f, done: make(chan struct{})}
	select {
	case d.work <- j:
	default:
		go d.keep(j)
	}
	<-j.done
	if j.panic != nil {
		panic(j.panic)
	}
}

// keep does one job, and those that follow if not too many others wait for them.
func (d *deepStacks) keep(j *job) {
	j.do()
	if d.kept.Add(1) > mostKept {
		d.kept.Add(-1)
		return
	}
	defer d.kept.Add(-1)
	for {
		select {
		case j := <-d.work:
			j.do()
		case <-d.stop:
			return
		}
	}
}

func (j *job) do() {
	defer close(j.done)
	defer func() { j.panic = recover() }()
	j.f()
}
