package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

var ping = Check{Name: "ping", Check: func(context.Context) error { return nil }}

func (s *Server) healthPaths(p *paths) {
	shutdown := Check{Name: "shutdown", ReadyOnly: true, Check: func(context.Context) error {
		if s.closing.Load() {
			return errors.New("process is shutting down")
		}
		return nil
	}}
	all := append([]Check{ping, {Name: "log", Check: ping.Check}}, s.cfg.Checks...)
	all = append(all, shutdown)
	alive := slices.DeleteFunc(slices.Clone(all), func(c Check) bool { return c.ReadyOnly })
	for name, checks := range map[string][]Check{"healthz": alive, "livez": alive, "readyz": all} {
		p.handle("/"+name, s.health(name, checks))
		for _, c := range checks {
			p.handle("/"+name+"/"+c.Name, single(c))
		}
	}
}

// health answers for all checks at once: "ok", or with ?verbose or after a failure a line for each. Why one failed is
// said to the log alone, since everybody may ask.
func (s *Server) health(name string, checks []Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		excluded := slices.Clone(query["exclude"])
		var out strings.Builder
		failed := false
		for _, c := range checks {
			if i := slices.Index(excluded, c.Name); i >= 0 {
				excluded = slices.DeleteFunc(excluded, func(e string) bool { return e == c.Name })
				fmt.Fprintf(&out, "[+]%s excluded: ok\n", c.Name)
				continue
			}
			if err := c.Check(r.Context()); err != nil {
				s.cfg.Log.Info("health check failed", "path", name, "check", c.Name, "err", err)
				fmt.Fprintf(&out, "[-]%s failed: reason withheld\n", c.Name)
				failed = true
				continue
			}
			fmt.Fprintf(&out, "[+]%s ok\n", c.Name)
		}
		if len(excluded) > 0 {
			for i := range excluded {
				excluded[i] = fmt.Sprintf("%q", excluded[i])
			}
			slices.Sort(excluded)
			fmt.Fprintf(&out, "warn: some health checks cannot be excluded: no matches for %s\n", strings.Join(slices.Compact(excluded), ","))
		}
		if failed {
			http.Error(w, out.String()+name+" check failed", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !query.Has("verbose") {
			_, _ = w.Write([]byte("ok"))
			return
		}
		_, _ = fmt.Fprintf(w, "%s%s check passed\n", out.String(), name)
	})
}

func single(c Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.Check(r.Context()); err != nil {
			http.Error(w, fmt.Sprintf("internal server error: %v", err), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte("ok"))
	})
}
