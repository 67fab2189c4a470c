package containerlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

const sample = `2026-01-02T03:04:05.1Z stdout F one
2026-01-02T03:04:06.2Z stderr P two 
2026-01-02T03:04:06.3Z stderr F and a half
garbage
2026-01-02T03:04:07.4Z stdout F
2026-01-02T03:04:08.5+00:00 stdout F four
2026-01-02T03:04:09.6Z stdout P no end`

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte(sample+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := func(v int64) *int64 { return &v }
	for _, c := range []struct {
		name     string
		o        Options
		out, err string
	}{
		{"everything", Options{}, "one\n" + "four\n" + "no end", "two and a half\n"},
		{"one stream", Options{Stream: Stderr}, "", "two and a half\n"},
		{"since a time", Options{Since: time.Date(2026, 1, 2, 3, 4, 8, 0, time.UTC)}, "four\nno end", ""},
		{"the last two", Options{TailLines: n(2)}, "four\nno end", ""},
		{"none", Options{TailLines: n(0)}, "", ""},
		{"more than there are", Options{TailLines: n(100)}, "one\n" + "four\n" + "no end", "two and a half\n"},
		{"the first bytes", Options{LimitBytes: n(6)}, "one\n", "tw"},
		{"with timestamps", Options{Timestamps: true, TailLines: n(2)}, "2026-01-02T03:04:08.500000000Z four\n2026-01-02T03:04:09.600000000Z no end", ""},
		{"one timestamp a line", Options{Timestamps: true, Stream: Stderr}, "", "2026-01-02T03:04:06.200000000Z two and a half\n"},
	} {
		var out, errOut bytes.Buffer
		if err := Read(context.Background(), path, c.o, nil, &out, &errOut); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if out.String() != c.out || errOut.String() != c.err {
			t.Errorf("%s: %q %q, want %q %q", c.name, out.String(), errOut.String(), c.out, c.err)
		}
	}
	if err := Read(context.Background(), path+".none", Options{}, nil, io.Discard, io.Discard); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a log that is not there: %v", err)
	}
}

func TestTailOfALongLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	var b bytes.Buffer
	for i := range 5000 {
		fmt.Fprintf(&b, "2026-01-02T03:04:05.1Z stdout F line %d %s\n", i, strings.Repeat("x", i%200))
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{1, 2, 400, 4999, 5000, 6000} {
		var out bytes.Buffer
		if err := Read(context.Background(), path, Options{TailLines: &want}, nil, &out, &out); err != nil {
			t.Fatal(err)
		}
		if got := int64(bytes.Count(out.Bytes(), []byte("\n"))); got != min(want, 5000) {
			t.Errorf("%d lines, want %d", got, want)
		}
	}
}

// writer is a container whose log is written by the test.
type container struct {
	path string
	file *os.File
	fail bool
}

func (c *container) Containers(context.Context) ([]runtime.ContainerStatus, error) {
	return []runtime.ContainerStatus{{ID: "x", State: runtime.Running, LogPath: c.path}}, nil
}

func (c *container) ReopenLog(context.Context, string) (err error) {
	if c.fail {
		return errors.New("no")
	}
	if c.file != nil {
		c.file.Close()
	}
	c.file, err = os.OpenFile(c.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return err
}

func (c *container) write(t *testing.T, n int) {
	t.Helper()
	if _, err := fmt.Fprintf(c.file, "2026-01-02T03:04:05.1Z stdout F line %d\n", n); err != nil {
		t.Fatal(err)
	}
}

func TestRotate(t *testing.T) {
	dir := t.TempDir()
	c := &container{path: filepath.Join(dir, "0.log")}
	if err := c.ReopenLog(context.Background(), ""); err != nil {
		t.Fatal(err)
	}
	defer c.file.Close()
	r := &Rotator{Runtime: c, MaxSize: 10, MaxFiles: 3, Log: nil}
	for i := range 6 {
		c.write(t, i)
		if err := r.rotate(context.Background(), runtime.ContainerStatus{ID: "x", LogPath: c.path}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond) // names are of milliseconds
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var zipped, plain int
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".gz") {
			zipped++
		} else {
			plain++
		}
	}
	if zipped != 1 || plain != 2 {
		t.Errorf("%d zipped and %d plain files of 3: %v", zipped, plain, entries)
	}
	// A runtime that does not reopen keeps its file under its name.
	c.write(t, 7)
	c.fail = true
	if err := r.rotate(context.Background(), runtime.ContainerStatus{ID: "x", LogPath: c.path}); err == nil {
		t.Error("rotated")
	}
	data, err := os.ReadFile(c.path)
	if err != nil || !strings.Contains(string(data), "line 7") {
		t.Errorf("log = %q, %v", data, err)
	}
}

func TestFollowEndsWithTheContainer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	ended := make(chan struct{})
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- Read(context.Background(), path, Options{Follow: true}, ended, write, write)
		write.Close()
	}()
	// The file comes after the reader, and a line in two pieces.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 100)
	for _, piece := range []string{"2026-01-02T03:04:05.1Z stdout F on", "e\n2026-01-02T03:04:05.1Z stdout F two\n"} {
		if _, err := io.WriteString(f, piece); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := read.Read(buf); err != nil || string(buf[:n]) != "one\ntwo\n" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if _, err := io.WriteString(f, "2026-01-02T03:04:05.1Z stdout F last\n"); err != nil {
		t.Fatal(err)
	}
	close(ended)
	rest, err := io.ReadAll(read)
	if err != nil || string(rest) != "last\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	// Nothing was ever written: that is an empty log.
	if err := Read(context.Background(), path+".none", Options{Follow: true}, ended, io.Discard, io.Discard); err != nil {
		t.Errorf("a container that said nothing: %v", err)
	}
}
