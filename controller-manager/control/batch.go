package control

import (
	"context"
	"sync"
	"sync/atomic"
)

// parallel is how many requests one reconcile has in flight. More would only queue at the server, in front of everybody
// else's.
const parallel = 64

// Grow calls create count times: first once, then twice at a time, then four times, and so on. When a call fails, those of
// its batch still run but no further batch starts: what makes one create fail (a quota, say) would mostly make all fail.
// It answers the number of calls that succeeded and the first error.
func Grow(ctx context.Context, count int, create func(ctx context.Context, i int) error) (int, error) {
	done := 0
	for size := 1; done < count; size *= 2 {
		size := min(size, count-done)
		failed, err := each(ctx, done, size, create)
		if err != nil {
			return done + size - failed, err
		}
		done += size
	}
	return done, nil
}

// Each calls f for 0 to count-1, many at a time, and answers the first error after all have returned.
func Each(ctx context.Context, count int, f func(ctx context.Context, i int) error) error {
	_, err := each(ctx, 0, count, f)
	return err
}

func each(ctx context.Context, from, count int, f func(ctx context.Context, i int) error) (failed int, first error) {
	var (
		wg   sync.WaitGroup
		once sync.Once
		next atomic.Int64
		bad  atomic.Int64
	)
	for range min(count, parallel) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				if err := f(ctx, from+i); err != nil {
					bad.Add(1)
					once.Do(func() { first = err })
				}
			}
		})
	}
	wg.Wait()
	return int(bad.Load()), first
}
