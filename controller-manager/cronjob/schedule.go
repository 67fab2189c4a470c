package cronjob

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/utils/ptr"
)

// slack is how long after a scheduled time to look: clocks and timers may be a little early.
const slack = 100 * time.Millisecond

// tooMany is how many times may be missed before that is worth a warning.
const tooMany = 100

// parse answers the schedule in its time zone. The parser panics on some nonsense, which is an error like any other.
func parse(c *batchv1.CronJob) (schedule cron.Schedule, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("invalid schedule format: %v", p)
		}
	}()
	text := c.Spec.Schedule
	if c.Spec.TimeZone != nil && !strings.Contains(text, "TZ") {
		text = "TZ=" + *c.Spec.TimeZone + " " + text
	}
	return cron.ParseStandard(text)
}

// due answers the last time of the schedule that has come and for which no Job was started yet (zero: none), and whether
// many more before it were missed. Only the last one is ever made up for.
func due(c *batchv1.CronJob, schedule cron.Schedule, now time.Time) (last time.Time, missed bool, err error) {
	from := since(c)
	if c.Spec.StartingDeadlineSeconds != nil {
		if deadline := now.Add(-time.Duration(*c.Spec.StartingDeadlineSeconds) * time.Second); deadline.After(from) {
			from = deadline
		}
	}
	return lastBefore(schedule, from, now)
}

func since(c *batchv1.CronJob) time.Time {
	if c.Status.LastScheduleTime != nil {
		return c.Status.LastScheduleTime.Time
	}
	return c.CreationTimestamp.Time
}

// lastBefore answers the last time of the schedule after from and not after now. A schedule that runs every minute and was
// down for a year must not be walked through minute by minute: it jumps by its period first.
func lastBefore(schedule cron.Schedule, from, now time.Time) (last time.Time, many bool, err error) {
	first := schedule.Next(from)
	if first.IsZero() || now.Before(first) {
		return time.Time{}, false, nil
	}
	second := schedule.Next(first)
	if second.IsZero() || now.Before(second) {
		return first, false, nil
	}
	period := second.Sub(first).Round(time.Second)
	if period < time.Second {
		return time.Time{}, false, errors.New("time difference between two schedules is less than 1 second")
	}
	missed := int64(now.Sub(first)/period) + 1
	// The periods may differ (workdays, say), so the jump stops one short, and from there times are walked.
	for t := schedule.Next(first.Add(time.Duration(missed-2) * period)); !t.IsZero() && !t.After(now); t = schedule.Next(t) {
		last = t
	}
	if last.IsZero() {
		for t := first; !t.IsZero() && !t.After(now); t = schedule.Next(t) {
			last = t
		}
	}
	return last, missed > tooMany, nil
}

// next is how long until the next time of the schedule.
func next(schedule cron.Schedule, now time.Time) time.Duration {
	t := schedule.Next(now)
	if t.IsZero() {
		return 0
	}
	return t.Sub(now) + slack
}

// late says that the scheduled time is too long ago to start anything for it.
func late(c *batchv1.CronJob, scheduled, now time.Time) bool {
	return c.Spec.StartingDeadlineSeconds != nil && scheduled.Add(time.Duration(*c.Spec.StartingDeadlineSeconds)*time.Second).Before(now)
}

func location(c *batchv1.CronJob) (*time.Location, error) {
	return time.LoadLocation(ptr.Deref(c.Spec.TimeZone, ""))
}
