package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// state is what is known of a cluster outside of its processes: RunDir/NAME/state.json. It is written ahead of what it
// describes.
type state struct {
	Name   string
	Number int    // which subnet and, with egress, which interface
	Data   string // the cluster's folder below DataRoot
	Egress bool
	// Forwarding is true if the host forwarded no packets before this cluster asked it to.
	Forwarding bool `json:",omitempty"`
	Machines   []machineState
}

type machineState struct {
	Name    string
	Address netip.Addr
	Port    string // the machine's plug in the LAN's bridge
	// PID is init's, in the host's numbering; Started tells it from a later process of the same number.
	PID     int
	Started uint64
}

func (h Host) runDir(name string) string { return filepath.Join(h.RunDir, name) }

func (h Host) readState(name string) (*state, error) {
	body, err := os.ReadFile(filepath.Join(h.runDir(name), "state.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	if err != nil {
		return nil, err
	}
	s := &state{}
	if err := json.Unmarshal(body, s); err != nil {
		return nil, fmt.Errorf("state of cluster %s: %w", name, err)
	}
	return s, nil
}

func (h Host) writeState(s *state) error {
	body, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(h.runDir(s.Name), "state.json"), body, 0o644)
}

// replaceFile writes a file that others see whole or not at all.
func replaceFile(path string, body []byte, mode os.FileMode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, body, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
