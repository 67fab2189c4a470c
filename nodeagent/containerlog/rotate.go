package containerlog

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// containers is what a Rotator needs of the runtime.
type containers interface {
	Containers(ctx context.Context) ([]runtime.ContainerStatus, error)
	ReopenLog(ctx context.Context, id string) error
}

// Rotator keeps the logs of running containers from growing without bound.
type Rotator struct {
	Runtime containers
	// MaxSize of a log before it is rotated; default 10 MiB.
	MaxSize int64
	// MaxFiles of a container, the current one included; default 5, at least 2.
	MaxFiles int
	// Period of looking; default 10 seconds. A container that floods its log exceeds MaxSize by what it writes meanwhile.
	Period time.Duration
	Log    *slog.Logger
}

// Run rotates until ctx ends.
func (r *Rotator) Run(ctx context.Context) error {
	if r.MaxSize == 0 {
		r.MaxSize = 10 << 20
	}
	r.MaxFiles = max(r.MaxFiles, 2)
	if r.Period == 0 {
		r.Period = 10 * time.Second
	}
	if r.Log == nil {
		r.Log = slog.Default()
	}
	ticker := time.NewTicker(r.Period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			r.look(ctx)
		}
	}
}

func (r *Rotator) look(ctx context.Context) {
	all, err := r.Runtime.Containers(ctx)
	if err != nil {
		r.Log.Warn("logs could not be looked at", "error", err)
		return
	}
	for _, c := range all {
		if c.State != runtime.Running || c.LogPath == "" {
			continue
		}
		info, err := os.Stat(c.LogPath)
		if errors.Is(err, os.ErrNotExist) {
			// A rotation was interrupted between its two steps.
			err = r.Runtime.ReopenLog(ctx, c.ID)
		} else if err == nil && info.Size() >= r.MaxSize {
			err = r.rotate(ctx, c)
		}
		if err != nil && ctx.Err() == nil {
			r.Log.Warn("log of container could not be rotated", "container", c.ID, "log", c.LogPath, "error", err)
		}
	}
}

// rotate moves the log away, has a new one begun, and makes room for it first.
func (r *Rotator) rotate(ctx context.Context, c runtime.ContainerStatus) error {
	old, err := rotated(c.LogPath)
	if err != nil {
		return err
	}
	// One file is current and one is about to be moved away.
	for len(old) > r.MaxFiles-2 {
		if err := os.Remove(old[0]); err != nil {
			return err
		}
		old = old[1:]
	}
	for _, path := range old {
		if !strings.HasSuffix(path, ".gz") {
			if err := compress(path); err != nil {
				return err
			}
		}
	}
	// The newest stays as it is: who follows may still read it.
	moved := c.LogPath + "." + time.Now().UTC().Format("20060102-150405.000")
	if err := os.Rename(c.LogPath, moved); err != nil {
		return err
	}
	if err := r.Runtime.ReopenLog(ctx, c.ID); err != nil {
		// The runtime goes on writing to the old file: give it its name back.
		return errors.Join(err, os.Rename(moved, c.LogPath))
	}
	return nil
}

// rotated files of a log, oldest first: their names sort by time.
func rotated(path string) ([]string, error) {
	list, err := filepath.Glob(path + ".*")
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(p string) bool {
		if strings.HasSuffix(p, ".tmp") { // a compression was interrupted; its source is still there
			os.Remove(p)
			return true
		}
		return false
	})
	slices.Sort(list)
	return list, nil
}

func compress(path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	temp := path + ".tmp"
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return fmt.Errorf("compress %s: %w", path, err)
	}
	if err := os.Rename(temp, path+".gz"); err != nil {
		return err
	}
	return os.Remove(path)
}
