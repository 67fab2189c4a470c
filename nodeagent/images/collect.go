package images

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Usage implements runtime.Images.
func (s *Store) Usage(context.Context) (runtime.ImageUsage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.root, &st); err != nil {
		return runtime.ImageUsage{}, err
	}
	u := runtime.ImageUsage{
		Path: s.root,
		// Without what is kept for root or by a quota: see eviction.Manager.Look.
		CapacityBytes:  (st.Blocks - st.Bfree + st.Bavail) * uint64(st.Bsize),
		AvailableBytes: st.Bavail * uint64(st.Bsize),
		Inodes:         st.Files,
		InodesFree:     st.Ffree,
	}
	s.layers.mu.Lock()
	defer s.layers.mu.Unlock()
	for _, l := range s.layers.byChain {
		u.UsedBytes += uint64(l.Size)
	}
	return u, nil
}

// Collect removes images that keep does not want, the longest unused first, until about need bytes are gained; with need
// below zero all of them. Images younger than minAge and pinned ones stay. It returns what was gained, and an error when
// it was not enough.
func (s *Store) Collect(ctx context.Context, need int64, minAge time.Duration, keep func(runtime.Image) bool) (int64, error) {
	list, err := s.List(ctx)
	if err != nil {
		return 0, err
	}
	slices.SortFunc(list, func(a, b runtime.Image) int { return a.LastUsed.Compare(b.LastUsed) })
	before, err := s.Usage(ctx)
	if err != nil {
		return 0, err
	}
	var gained int64
	var failed []error
	for _, image := range list {
		if need >= 0 && gained >= need {
			break
		}
		if image.Pinned || time.Since(image.LastUsed) < minAge || keep(image) {
			continue
		}
		if err := s.Remove(ctx, image.ID); err != nil {
			failed = append(failed, err)
			continue
		}
		s.log.Info("unused image removed", "image", image.ID, "names", image.RepoTags)
		now, err := s.Usage(ctx) // layers are shared, so an image's size is not what its removal gains
		if err != nil {
			return gained, err
		}
		gained = int64(before.UsedBytes) - int64(now.UsedBytes)
	}
	if need > 0 && gained < need {
		failed = append(failed, fmt.Errorf("%d bytes were to be freed, %d could be", need, gained))
	}
	return gained, errors.Join(failed...)
}
