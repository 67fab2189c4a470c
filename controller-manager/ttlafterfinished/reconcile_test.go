package ttlafterfinished

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestDue(t *testing.T) {
	end := time.Unix(1000, 0)
	job := func(ttl *int32, kind batchv1.JobConditionType, status corev1.ConditionStatus) *batchv1.Job {
		return &batchv1.Job{Spec: batchv1.JobSpec{TTLSecondsAfterFinished: ttl}, Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: kind, Status: status, LastTransitionTime: metav1.NewTime(end)}}}}
	}
	if got, ok := due(job(ptr.To[int32](60), batchv1.JobFailed, corev1.ConditionTrue)); !ok || !got.Equal(end.Add(time.Minute)) {
		t.Errorf("due at %s, %v", got, ok)
	}
	for name, j := range map[string]*batchv1.Job{
		"kept for ever": job(nil, batchv1.JobComplete, corev1.ConditionTrue), "not over": job(ptr.To[int32](0), batchv1.JobSuspended, corev1.ConditionTrue),
		"about to be": job(ptr.To[int32](0), batchv1.JobComplete, corev1.ConditionFalse),
	} {
		if _, ok := due(j); ok {
			t.Errorf("%s: due", name)
		}
	}
}
