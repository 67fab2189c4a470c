package oci_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/runtime/runtimetest/native"
)

// startPod runs a sandbox and one container in it and tells how long the steps took.
func startPod(b *testing.B, r runtime.Runtime, n *native.Node, image string, i int) (id string, sandbox, create, start time.Duration) {
	b.Helper()
	ctx := context.Background()
	uid := fmt.Sprintf("bench-%d", i)
	t0 := time.Now()
	s, err := r.RunSandbox(ctx, runtime.SandboxConfig{
		Pod: runtime.Pod{Namespace: "ns", Name: uid, UID: uid}, Hostname: uid, LogDirectory: filepath.Join(n.Root, "logs", uid), CgroupParent: "/kubepods/burstable/pod" + uid,
	})
	if err != nil {
		b.Error(err)
		return
	}
	t1 := time.Now()
	c, err := r.CreateContainer(ctx, runtime.ContainerConfig{SandboxID: s.ID, Name: "c", Image: image, LogPath: "c.log", Command: []string{"sleep", "1000"},
		Resources: runtime.Resources{CPUShares: 100, MemoryLimit: 64 << 20}})
	if err != nil {
		b.Error(err)
		return
	}
	t2 := time.Now()
	if err := r.StartContainer(ctx, c); err != nil {
		b.Error(err)
	}
	return s.ID, t1.Sub(t0), t2.Sub(t1), time.Since(t2)
}

func BenchmarkPod(b *testing.B) {
	n := native.New(b)
	r := n.Runtime(b)
	image := n.Load(b, "busybox:1", v1.Config{})
	var sum [4]time.Duration
	i := 0
	for b.Loop() {
		i++
		id, s, c, st := startPod(b, r, n, image, i)
		b.StopTimer()
		sum[0], sum[1], sum[2] = sum[0]+s, sum[1]+c, sum[2]+st
		t := time.Now()
		if err := r.RemoveSandbox(context.Background(), id); err != nil {
			b.Fatal(err)
		}
		sum[3] += time.Since(t)
		b.StartTimer()
	}
	for k, name := range []string{"sandbox", "create", "start", "remove"} {
		b.ReportMetric(sum[k].Seconds()*1000/float64(i), name+"-ms")
	}
}

func BenchmarkFiftyPodsAtOnce(b *testing.B) {
	n := native.New(b)
	r := n.Runtime(b)
	image := n.Load(b, "busybox:1", v1.Config{})
	var took, removed time.Duration
	rounds := 0
	for b.Loop() {
		ids := make([]string, 50)
		begin := time.Now()
		each(50, func(i int) { ids[i], _, _, _ = startPod(b, r, n, image, rounds*50+i) })
		took += time.Since(begin)
		rounds++
		b.StopTimer()
		begin = time.Now()
		each(50, func(i int) {
			if err := r.RemoveSandbox(context.Background(), ids[i]); err != nil {
				b.Error(err)
			}
		})
		removed += time.Since(begin)
		b.StartTimer()
	}
	b.ReportMetric(float64(50*rounds)/took.Seconds(), "pods/s")
	b.ReportMetric(float64(50*rounds)/removed.Seconds(), "removed/s")
}

func each(n int, f func(int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
