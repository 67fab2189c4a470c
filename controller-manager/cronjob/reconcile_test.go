package cronjob

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestDue(t *testing.T) {
	tests := []struct {
		name, schedule, created, last, now string
		deadline                           *int64
		want                               string
		missed, bad                        bool
	}{
		{name: "not yet", schedule: "0 * * * *", created: "2026-01-01T10:10:00Z", now: "2026-01-01T10:59:59Z"},
		{name: "now", schedule: "0 * * * *", created: "2026-01-01T10:10:00Z", now: "2026-01-01T11:00:00Z", want: "2026-01-01T11:00:00Z"},
		{name: "already started", schedule: "0 * * * *", created: "2026-01-01T10:10:00Z", last: "2026-01-01T11:00:00Z", now: "2026-01-01T11:30:00Z"},
		{name: "only the last of several missed", schedule: "0 * * * *", created: "2026-01-01T10:10:00Z", now: "2026-01-01T15:20:00Z", want: "2026-01-01T15:00:00Z"},
		{name: "very many missed", schedule: "* * * * *", created: "2026-01-01T10:10:00Z", now: "2026-06-01T10:10:30Z", want: "2026-06-01T10:10:00Z", missed: true},
		{name: "times that are not evenly spread", schedule: "0 10 * * 1,5", created: "2026-01-01T00:00:00Z", now: "2026-03-04T00:00:00Z", want: "2026-03-02T10:00:00Z"},
		{name: "a deadline forgets what is older", schedule: "0 * * * *", created: "2026-01-01T10:10:00Z", now: "2026-01-01T11:30:00Z", deadline: ptr.To[int64](60)},
		{name: "never", schedule: "0 0 30 2 *", created: "2026-01-01T10:10:00Z", now: "2026-06-01T10:10:30Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(at(tt.created))}, Spec: batchv1.CronJobSpec{Schedule: tt.schedule, StartingDeadlineSeconds: tt.deadline, TimeZone: ptr.To("UTC")}}
			if tt.last != "" {
				c.Status.LastScheduleTime = ptr.To(metav1.NewTime(at(tt.last)))
			}
			schedule, err := parse(c)
			if err != nil {
				t.Fatal(err)
			}
			got, missed, err := due(c, schedule, at(tt.now))
			if (err != nil) != tt.bad || missed != tt.missed {
				t.Errorf("missed %v, error %v", missed, err)
			}
			switch {
			case tt.want == "" && !got.IsZero():
				t.Errorf("due at %s", got)
			case tt.want != "" && !got.Equal(at(tt.want)):
				t.Errorf("due at %s, want %s", got, tt.want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	for text, ok := range map[string]bool{"* * * * *": true, "@hourly": true, "x": false, "* * * *": false, "TZ=0": false, "61 * * * *": false} {
		c := &batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: text}}
		if _, err := parse(c); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestTimeZone(t *testing.T) {
	c := &batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: "0 12 * * *", TimeZone: ptr.To("Asia/Tokyo")}}
	schedule, err := parse(c)
	if err != nil {
		t.Fatal(err)
	}
	if got := schedule.Next(at("2026-01-01T00:00:00Z")); !got.Equal(at("2026-01-01T03:00:00Z")) {
		t.Errorf("noon in Tokyo is %s", got.UTC())
	}
}

func TestNewJob(t *testing.T) {
	c := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "tick", UID: "u"}}
	scheduled := at("2026-01-01T10:00:00Z")
	if a, b := jobName(c, scheduled), jobName(c, scheduled.Add(59*time.Second)); a != b {
		t.Errorf("two names for a minute: %s, %s", a, b)
	}
	job := newJob(c, "x", scheduled, time.UTC)
	if job.Annotations[batchv1.CronJobScheduledTimestampAnnotation] != "2026-01-01T10:00:00Z" || job.OwnerReferences[0].UID != "u" {
		t.Errorf("job %+v", job.ObjectMeta)
	}
}
