package podworker

import "time"

// backoff doubles a delay from failure to failure. One that has not failed for twice the longest delay begins anew.
type backoff struct {
	delay time.Duration
	since time.Time
}

const firstDelay = 10 * time.Second

// wait is how much longer to wait after a failure at failed. Zero: not at all.
func (b *backoff) wait(failed, now time.Time, most time.Duration) time.Duration {
	if b.delay == 0 || failed.Sub(b.since) > 2*most {
		return 0
	}
	return max(b.delay-now.Sub(failed), 0)
}

// next counts an attempt that follows a failure at failed.
func (b *backoff) next(failed, now time.Time, most time.Duration) {
	if b.delay == 0 || failed.Sub(b.since) > 2*most {
		b.delay = min(firstDelay, most)
	} else {
		b.delay = min(2*b.delay, most)
	}
	b.since = now
}
