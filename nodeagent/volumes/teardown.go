package volumes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"
)

// Teardown takes the volumes of a pod away, with what is in those that live and die with the pod. What its containers left
// (termination messages, hosts file) stays until Remove.
func (p *Pod) Teardown() error {
	p.mu.Lock()
	p.ready, p.renew = map[string]*volume{}, timeZero
	p.mu.Unlock()
	if err := unmountBelow(p.dir); err != nil {
		return err
	}
	return errors.Join(removeTree(filepath.Join(p.dir, "volume-subpaths")), removeTree(filepath.Join(p.dir, "volumes")))
}

// Remove takes everything of a pod off this node's disk.
func (m *Manager) Remove(uid types.UID) error {
	if uid == "" || filepath.Base(string(uid)) != string(uid) {
		return fmt.Errorf("%q is no pod UID", uid)
	}
	dir := m.PodDir(uid)
	if err := unmountBelow(dir); err != nil {
		return err
	}
	return removeTree(dir)
}

// removeTree is os.RemoveAll for folders that must not hold mounts any more: it would otherwise empty somebody's data.
func removeTree(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	same, err := oneFileSystem(dir)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("something is still mounted below %s", dir)
	}
	return os.RemoveAll(dir)
}
