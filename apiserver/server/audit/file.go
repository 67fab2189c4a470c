package audit

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"
)

// FileConfig is upstream's --audit-log-* flags.
type FileConfig struct {
	// Path "-" is the standard output.
	Path string
	// MaxSize in megabytes makes a new file begin; 0 means 100. MaxBackups and MaxAge (in days) bound what is kept of
	// the old ones; 0 means all.
	MaxSize, MaxBackups, MaxAge int
	// Compress packs the old ones with gzip.
	Compress bool
}

// file is a log that begins anew when it is full. Old ones carry the time in their names.
type file struct {
	cfg  FileConfig
	mu   sync.Mutex
	f    *os.File
	size int64
	// packing are old files that are being compressed.
	packing sync.WaitGroup
}

func openFile(cfg FileConfig) (io.WriteCloser, error) {
	if cfg.Path == "-" {
		return stdout{}, nil
	}
	if cfg.MaxSize <= 0 {
		cfg.MaxSize = 100
	}
	l := &file{cfg: cfg}
	return l, l.open()
}

type stdout struct{}

func (stdout) Write(b []byte) (int, error) { return os.Stdout.Write(b) }
func (stdout) Close() error                { return nil }

func (l *file) open() error {
	if err := os.MkdirAll(filepath.Dir(l.cfg.Path), 0o700); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	f, err := os.OpenFile(l.cfg.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("audit log: %w", err)
	}
	l.f, l.size = f, info.Size()
	return nil
}

func (l *file) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(b)) > int64(l.cfg.MaxSize)<<20 {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	return n, err
}

func (l *file) Close() error {
	defer l.packing.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}

// packed is the end of a compressed backup's name.
const packed = ".gz"

// pack replaces a file by a compressed one. What fails leaves the file as it is.
func pack(name string) {
	in, err := os.Open(name)
	if err != nil {
		return
	}
	defer in.Close()
	out, err := os.OpenFile(name+packed, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		_ = os.Remove(name + packed)
		return
	}
	_ = os.Remove(name)
}

// stamp is upstream's (lumberjack's) form of a backup's name.
const stamp = "2006-01-02T15-04-05.000"

func (l *file) rotate() error {
	ext := filepath.Ext(l.cfg.Path)
	base := strings.TrimSuffix(l.cfg.Path, ext) + "-"
	full := base + time.Now().UTC().Format(stamp) + ext
	if err := os.Rename(l.cfg.Path, full); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	if l.cfg.Compress {
		l.packing.Go(func() { pack(full) })
	}
	_ = l.f.Close()
	if err := l.open(); err != nil {
		return err
	}
	backups, _ := filepath.Glob(base + "*" + ext + "*")
	sort.Sort(sort.Reverse(sort.StringSlice(backups))) // newest first
	for i, name := range backups {
		at, err := time.Parse(stamp, strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(name, base), packed), ext))
		if err != nil {
			continue // not ours
		}
		if l.cfg.MaxBackups > 0 && i >= l.cfg.MaxBackups || l.cfg.MaxAge > 0 && time.Since(at) > time.Duration(l.cfg.MaxAge)*24*time.Hour {
			_ = os.Remove(name)
		}
	}
	return nil
}
