package volumes

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// dataLink always points at the folder with the current files; what the user sees are links through it. Swapping this
// one link swaps all files at once. The names are Kubernetes': programs look for them to learn of an update.
const dataLink = "..data"

// write makes the files below dir be exactly content. When they are already, nothing is touched.
func write(dir string, content files, pod *corev1.Pod) error {
	for path := range content {
		if err := checkPath(path); err != nil {
			return err
		}
	}
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if old != "" && same(filepath.Join(dir, old), content) {
		return link(dir, content)
	}
	fresh, err := os.MkdirTemp(dir, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return err
	}
	if err := fill(fresh, content, pod); err != nil {
		_ = os.RemoveAll(fresh)
		return err
	}
	swap := filepath.Join(dir, "..data_tmp")
	_ = os.Remove(swap) // of an agent that was killed half-way
	if err := os.Symlink(filepath.Base(fresh), swap); err != nil {
		return err
	}
	if err := os.Rename(swap, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	if err := link(dir, content); err != nil {
		return err
	}
	return sweep(dir, filepath.Base(fresh), content)
}

func checkPath(path string) error {
	if path == "" || filepath.IsAbs(path) || strings.HasPrefix(path, "..") {
		return fmt.Errorf("invalid path %q: must be relative and not begin with '..'", path)
	}
	for _, part := range strings.Split(path, "/") {
		if part == ".." {
			return fmt.Errorf("invalid path %q: must not contain '..'", path)
		}
	}
	return nil
}

// fill writes the files into a folder that nobody sees yet.
func fill(dir string, content files, pod *corev1.Pod) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for path, f := range content {
		name := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, f.data, f.mode); err != nil {
			return err
		}
		if err := os.Chmod(name, f.mode); err != nil { // past the umask
			return err
		}
		if f.user != nil {
			if err := os.Chown(name, int(*f.user), -1); err != nil {
				return err
			}
		}
	}
	return own(dir, pod, true)
}

// link makes the names that the user sees, one for each first path element.
func link(dir string, content files) error {
	for path := range content {
		first, _, _ := strings.Cut(filepath.Clean(path), "/")
		if err := os.Symlink(filepath.Join(dataLink, first), filepath.Join(dir, first)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// sweep removes the names of files that are no more, and old folders.
func sweep(dir, current string, content files) error {
	keep := map[string]bool{dataLink: true, current: true}
	for path := range content {
		first, _, _ := strings.Cut(filepath.Clean(path), "/")
		keep[first] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !keep[e.Name()] {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// same says whether a folder holds exactly these files.
func same(dir string, content files) bool {
	count := 0
	err := filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		path, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		f, ok := lookup(content, path)
		if !ok {
			return os.ErrNotExist
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		// The group may add bits to the mode; those of the file must be there.
		if !bytes.Equal(data, f.data) || info.Mode().Perm()&f.mode.Perm() != f.mode.Perm() {
			return os.ErrNotExist
		}
		count++
		return nil
	})
	return err == nil && count == len(content)
}

func lookup(content files, path string) (file, bool) {
	if f, ok := content[path]; ok {
		return f, true
	}
	for p, f := range content {
		if filepath.Clean(p) == path {
			return f, true
		}
	}
	return file{}, false
}
