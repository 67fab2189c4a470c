package eviction

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestShort(t *testing.T) {
	fine := Signal{MemoryTotal: 4 << 30, MemoryAvailable: 1 << 30, DiskTotal: 1000 << 20, DiskAvailable: 500 << 20, Inodes: 1000, InodesFree: 500, PIDs: 100, MaxPIDs: 10000}
	for _, tt := range []struct {
		name   string
		change func(*Signal)
		want   corev1.NodeConditionType
	}{
		{name: "nothing", change: func(*Signal) {}},
		{name: "memory", change: func(s *Signal) { s.MemoryAvailable = 99 << 20 }, want: corev1.NodeMemoryPressure},
		{name: "disk", change: func(s *Signal) { s.DiskAvailable = 99 << 20 }, want: corev1.NodeDiskPressure},
		{name: "inodes", change: func(s *Signal) { s.InodesFree = 1 }, want: corev1.NodeDiskPressure},
		{name: "process ids", change: func(s *Signal) { s.PIDs = 9900 }, want: corev1.NodePIDPressure},
		{name: "what cannot be measured", change: func(s *Signal) { *s = Signal{} }},
	} {
		s := fine
		tt.change(&s)
		for condition, short := range s.Short() {
			if short != (condition == tt.want) {
				t.Errorf("%s: %s is %v", tt.name, condition, short)
			}
		}
	}
}

func TestRank(t *testing.T) {
	pod := func(name string, priority int32) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Priority: &priority}}
	}
	got := Rank([]Usage{
		{Pod: pod("within", 0), Used: 900, Request: 1000},
		{Pod: pod("critical", 2_000_000_000), Used: 5000},
		{Pod: pod("important", 100), Used: 3000, Request: 100},
		{Pod: pod("a little over", 0), Used: 200, Request: 100},
		{Pod: pod("far over", 0), Used: 2000, Request: 100},
	})
	want := []string{"far over", "a little over", "important", "within"}
	if len(got) != len(want) {
		t.Fatalf("%d pods", len(got))
	}
	for i, u := range got {
		if u.Pod.Name != want[i] {
			t.Errorf("at %d %s, want %s", i, u.Pod.Name, want[i])
		}
	}
}

func TestOverLimit(t *testing.T) {
	size := resource.MustParse("1Mi")
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		Volumes:    []corev1.Volume{{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &size}}}},
		Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("2Mi")}}}},
	}}
	if !LimitsStorage(pod) {
		t.Error("limits are not seen")
	}
	for _, tt := range []struct {
		volume, container int64
		want              string
	}{
		{volume: 1 << 20, container: 1 << 20},
		{volume: 1<<20 + 1, want: `Usage of EmptyDir volume "e" exceeds the limit "1Mi". `},
		{container: 2<<20 + 1, want: `Container c exceeded its local ephemeral storage limit "2Mi". `},
		{volume: 1 << 20, container: 1<<20 + 1, want: `Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. `},
	} {
		if got := OverLimit(pod, Storage{Volumes: map[string]int64{"e": tt.volume}, Containers: map[string]int64{"c": tt.container}}); got != tt.want {
			t.Errorf("%d %d: %q, want %q", tt.volume, tt.container, got, tt.want)
		}
	}
}

func TestUsedCountsAFileOnce(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	before := Used(dir)
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if after := Used(dir); after != before || after < 1<<20 {
		t.Errorf("%d, then %d", before, after)
	}
}
