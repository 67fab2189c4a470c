package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/skiff-project/skiff/pkg/machine"
)

// status is what `skiff status -o json` prints.
type status struct {
	Name       string            `json:"name"`
	Server     string            `json:"server,omitempty"`
	Egress     bool              `json:"egress"`
	Machines   []machineStatus   `json:"machines"`
	Components []componentStatus `json:"components"`
	// MemoryPSS is the proportional share of memory of all processes of all machines, in bytes.
	MemoryPSS int64 `json:"memoryPSS"`
}

type machineStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	PID     int    `json:"pid"`
	Running bool   `json:"running"`
}

type componentStatus struct {
	Name      string `json:"name"`
	Machine   string `json:"machine"`
	PID       int    `json:"pid"`
	Processes int    `json:"processes"`
	MemoryPSS int64  `json:"memoryPSS"`
	// Health is "ok", "stopped", "restarting" or what is wrong.
	Health   string    `json:"health"`
	Restarts int       `json:"restarts"`
	Since    time.Time `json:"since,omitzero"`
}

func newStatus(streams genericiooptions.IOStreams) *cobra.Command {
	t := &target{}
	output := ""
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the components of a cluster of machines: where, how big and how well",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("--output=%s: only json is known", output)
			}
			c, err := t.open()
			if err != nil {
				return err
			}
			s, err := look(cmd.Context(), c)
			if err != nil {
				return err
			}
			if output == "json" {
				enc := json.NewEncoder(streams.Out)
				enc.SetIndent("", "  ")
				return enc.Encode(s)
			}
			return s.print(streams.Out)
		},
	}
	t.addFlags(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "", "json for programs")
	return cmd
}

func look(ctx context.Context, c *machine.Cluster) (*status, error) {
	s := &status{Name: c.Name(), Egress: c.Egress(), Machines: []machineStatus{}, Components: []componentStatus{}}
	if r, err := readRecord(c); err == nil {
		s.Server = fmt.Sprintf("https://127.0.0.1:%d", r.APIPort)
	}
	for _, m := range c.Machines() {
		s.Machines = append(s.Machines, machineStatus{Name: m.Name(), Address: m.Address().String(), PID: m.PID(), Running: m.Lives()})
		if !m.Lives() {
			continue
		}
		own, err := lookInto(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("machine %s: %w", m.Name(), err)
		}
		s.Components = append(s.Components, own...)
	}
	for _, comp := range s.Components {
		s.MemoryPSS += comp.MemoryPSS
	}
	return s, nil
}

// lookInto lists a machine's components, then its init and the processes of its pods, by program.
func lookInto(ctx context.Context, m *machine.Machine) ([]componentStatus, error) {
	states, err := m.Components()
	if err != nil {
		return nil, err
	}
	processes, err := m.Processes()
	if err != nil {
		return nil, err
	}
	var rows []componentStatus
	seen := map[int]bool{}
	for _, st := range states {
		row := componentStatus{Name: st.Name, Machine: m.Name(), Restarts: st.Restarts, Since: st.Since, Processes: 1}
		for _, p := range processes {
			if st.PID != 0 && p.Inner == st.PID {
				row.PID, row.MemoryPSS = p.PID, p.PSS
				seen[p.PID] = true
			}
		}
		switch {
		case !st.Wanted:
			row.Health = "stopped"
		case st.PID == 0:
			row.Health = "restarting: " + st.LastExit
		default:
			row.Health = health(ctx, m, st.Name)
		}
		rows = append(rows, row)
	}
	return append(rows, others(m, processes, seen)...), nil
}

// others sums up what runs in a machine and is no component: its init, and the processes of pods and their monitors.
func others(m *machine.Machine, processes []machine.Process, seen map[int]bool) []componentStatus {
	at := map[string]int{}
	var rows []componentStatus
	for _, p := range processes {
		if seen[p.PID] {
			continue
		}
		i, ok := at[p.Name]
		if !ok {
			i = len(rows)
			at[p.Name] = i
			rows = append(rows, componentStatus{Name: p.Name, Machine: m.Name(), PID: p.PID, Health: "ok"})
		}
		rows[i].Processes++
		rows[i].MemoryPSS += p.PSS
	}
	return rows
}

// health asks a component from within its machine.
func health(ctx context.Context, m *machine.Machine, name string) string {
	url := ""
	for _, c := range append(append([]component{}, controlPlane...), everyNode...) {
		if c.name == name {
			url = c.health
		}
	}
	if url == "" {
		return "ok" // a component that a user or test has added says nothing of itself; it runs
	}
	client := http.Client{
		Timeout: 3 * time.Second,
		Transport: &http.Transport{
			DialContext:       m.DialContext,
			DisableKeepAlives: true,
			// The answer is of no use to anybody who could forge it: it comes from the machine's own loopback.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	resp, err := client.Do(req)
	if err != nil {
		return "no answer: " + strings.TrimPrefix(err.Error(), "Get ")
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 200))
	if err != nil {
		return err.Error()
	}
	if resp.StatusCode != http.StatusOK {
		return strings.TrimSpace(resp.Status + " " + string(body))
	}
	return "ok"
}

func (s *status) print(out io.Writer) error {
	fmt.Fprintf(out, "cluster %s, API at %s, egress %v\n\n", s.Name, s.Server, s.Egress)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tCOMPONENT\tPID\tPSS\tRESTARTS\tHEALTH")
	for _, c := range s.Components {
		name := c.Name
		if c.Processes > 1 {
			name = fmt.Sprintf("%s (%d)", c.Name, c.Processes)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%.1f MB\t%d\t%s\n", c.Machine, name, c.PID, float64(c.MemoryPSS)/1e6, c.Restarts, c.Health)
	}
	for _, m := range s.Machines {
		if !m.Running {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\tthe machine does not run\n", m.Name)
		}
	}
	fmt.Fprintf(w, "\ttotal\t\t%.1f MB\t\t\n", float64(s.MemoryPSS)/1e6)
	return w.Flush()
}
