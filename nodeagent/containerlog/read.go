package containerlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Stream of a record.
type Stream string

// Streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// timestampFormat has a fixed width, as the kubelet's.
const timestampFormat = "2006-01-02T15:04:05.000000000Z07:00"

// Options say what is wanted of a log.
type Options struct {
	// Follow goes on until the container has ended.
	Follow bool
	// TailLines from the end; nil is all.
	TailLines *int64
	// LimitBytes of output; nil is no limit.
	LimitBytes *int64
	// Since leaves out what is older.
	Since time.Time
	// Timestamps are put before every line.
	Timestamps bool
	// Stream leaves out the other one; "" is both.
	Stream Stream
}

// Read writes the log at path to stdout and stderr. With Follow it returns when ended is closed and everything up to
// then was written. The order of records is the file's.
func Read(ctx context.Context, path string, o Options, ended <-chan struct{}, stdout, stderr io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) && o.Follow {
			f, err = await(ctx, path, ended)
		}
		if f == nil || err != nil {
			return err
		}
	}
	r := &reader{path: path, file: f, buf: bufio.NewReaderSize(f, 64<<10), out: &writer{o: o, stdout: stdout, stderr: stderr, left: -1, fresh: true}}
	defer func() { r.file.Close() }()
	if o.LimitBytes != nil {
		r.out.left = *o.LimitBytes
	}
	if o.TailLines != nil {
		if err := r.seekTail(*o.TailLines); err != nil {
			return err
		}
	}
	if o.Follow {
		err = r.follow(ctx, ended)
	} else {
		err = r.drain(ctx)
	}
	if err == nil {
		err = r.out.flush()
	}
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

// await waits for the file of a container that was just started.
func await(ctx context.Context, path string, ended <-chan struct{}) (*os.File, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	defer watcher.Close()
	if err := watcher.Add(filepath.Dir(path)); err != nil {
		return nil, err
	}
	for over := false; ; {
		f, err := os.Open(path)
		if err == nil || !errors.Is(err, os.ErrNotExist) || over {
			if over && errors.Is(err, os.ErrNotExist) {
				return nil, nil
			}
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ended:
			over = true
		case <-watcher.Events:
		}
	}
}

type reader struct {
	path    string
	file    *os.File
	buf     *bufio.Reader
	partial []byte // a record whose end is not written yet
	out     *writer
}

// drain writes all whole records that are there now.
func (r *reader) drain(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err := r.buf.ReadBytes('\n')
		if len(r.partial) > 0 {
			line = append(r.partial, line...)
			r.partial = nil
		}
		if err == io.EOF {
			r.partial = line
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log %s: %w", r.path, err)
		}
		if err := r.out.record(line); err != nil {
			return err
		}
	}
}

// follow waits for more at the end of the file, for a new file at its end, and for the end of the container.
func (r *reader) follow(ctx context.Context, ended <-chan struct{}) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	// The folder, not the file: rotation makes a new file of the name.
	if err := watcher.Add(filepath.Dir(r.path)); err != nil {
		return err
	}
	for over := false; ; {
		if err := r.drain(ctx); err != nil {
			return err
		}
		replaced, err := r.next(ctx)
		if err != nil {
			return err
		}
		if err := r.out.flush(); err != nil {
			return err
		}
		switch {
		case replaced:
			continue
		case over:
			return nil
		}
		if over, err = r.wait(ctx, watcher, ended); err != nil {
			return err
		}
	}
}

func (r *reader) wait(ctx context.Context, watcher *fsnotify.Watcher, ended <-chan struct{}) (over bool, err error) {
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-ended:
			return true, nil
		case err := <-watcher.Errors:
			return false, err
		case event := <-watcher.Events:
			if event.Name == r.path && !event.Has(fsnotify.Chmod) {
				return false, nil
			}
		}
	}
}

// next goes on to the file that has taken the place of the one being read, after that was read to its end.
func (r *reader) next(ctx context.Context) (bool, error) {
	now, err := os.Stat(r.path)
	if err != nil {
		return false, nil // between two files: the watcher tells of the next one
	}
	old, err := r.file.Stat()
	if err != nil || os.SameFile(now, old) {
		return false, err
	}
	f, err := os.Open(r.path)
	if err != nil {
		return false, nil
	}
	// What was written between the last look and the rename.
	if err := r.drain(ctx); err != nil {
		f.Close()
		return false, err
	}
	r.file.Close()
	r.file, r.partial = f, nil
	r.buf.Reset(f)
	return true, nil
}

// seekTail goes to the beginning of the last n lines.
func (r *reader) seekTail(n int64) error {
	end, err := r.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	start, err := tailStart(r.file, end, n)
	if err != nil {
		return err
	}
	_, err = r.file.Seek(start, io.SeekStart)
	r.buf.Reset(r.file)
	return err
}

// tailStart finds where the last n lines of the first end bytes begin, reading backwards.
func tailStart(f io.ReaderAt, end, n int64) (int64, error) {
	const block = 32 << 10
	buf := make([]byte, block)
	seen := int64(-1) // the newline that ends the last line does not begin one
	for right := end; right > 0; {
		left := max(right-block, 0)
		part := buf[:right-left]
		if _, err := f.ReadAt(part, left); err != nil && err != io.EOF {
			return 0, err
		}
		for i := len(part) - 1; i >= 0; i-- {
			if part[i] != '\n' {
				if seen < 0 && left+int64(i) == end-1 {
					seen = 0 // the last line is not whole
				}
				continue
			}
			if seen++; seen == n {
				return left + int64(i) + 1, nil
			}
		}
		right = left
	}
	if n == 0 {
		return end, nil
	}
	return 0, nil
}

// errLimit ends the reading when LimitBytes have been written.
var errLimit = errors.New("limit reached")

// flushAt is how much is collected before it is written. At the end of the file all is.
const flushAt = 32 << 10

// writer takes records apart and writes what is wanted of them.
type writer struct {
	o              Options
	stdout, stderr io.Writer
	left           int64 // bytes until the limit; -1: none
	pending        bytes.Buffer
	to             Stream
	fresh          bool // at the beginning of a line
}

// record handles one line of the file. What is in another format is passed over: a crash can leave half a line.
func (w *writer) record(line []byte) error {
	stamp, rest, ok1 := bytes.Cut(line, []byte(" "))
	stream, rest, ok2 := bytes.Cut(rest, []byte(" "))
	tag, text, ok3 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || !ok3 {
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil || w.o.Stream != "" && string(stream) != string(w.o.Stream) || at.Before(w.o.Since) {
		return nil
	}
	tag, _, _ = bytes.Cut(tag, []byte(":"))
	whole := !bytes.Equal(tag, []byte("P"))
	if !whole {
		text = bytes.TrimSuffix(text, []byte("\n"))
	}
	if Stream(stream) != w.to {
		if err := w.flush(); err != nil {
			return err
		}
		w.to = Stream(stream)
	}
	if w.o.Timestamps && w.fresh {
		if err := w.put(append(at.AppendFormat(nil, timestampFormat), ' ')); err != nil {
			return err
		}
	}
	w.fresh = whole
	return w.put(text)
}

func (w *writer) put(p []byte) error {
	limited := false
	if w.left >= 0 {
		if limited = int64(len(p)) >= w.left; limited {
			p = p[:w.left]
		}
		w.left -= int64(len(p))
	}
	w.pending.Write(p)
	if limited || w.pending.Len() >= flushAt {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if limited {
		return errLimit
	}
	return nil
}

func (w *writer) flush() error {
	if w.pending.Len() == 0 {
		return nil
	}
	to := w.stdout
	if w.to == Stderr {
		to = w.stderr
	}
	_, err := w.pending.WriteTo(to)
	return err
}
