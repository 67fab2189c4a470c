package storage

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
)

func BenchmarkCreate(b *testing.B) {
	s := start(b)
	value := make([]byte, 2000)
	var n atomic.Int64
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Create(context.Background(), fmt.Sprintf("/registry/x/%d", n.Add(1)), value, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

func BenchmarkRevision(b *testing.B) {
	s := start(b)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Revision(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRevisionAlone(b *testing.B) {
	s := start(b)
	for b.Loop() {
		if _, err := s.Revision(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
