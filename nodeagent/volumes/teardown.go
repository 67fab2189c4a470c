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
	if err := unmountAll(p.dir); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(filepath.Join(p.dir, "volume-subpaths")), os.RemoveAll(filepath.Join(p.dir, "volumes")))
}

// Remove takes everything of a pod off this node's disk.
func (m *Manager) Remove(uid types.UID) error {
	if uid == "" || filepath.Base(string(uid)) != string(uid) {
		return fmt.Errorf("%q is no pod UID", uid)
	}
	dir := m.PodDir(uid)
	if err := unmountAll(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
