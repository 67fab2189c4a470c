package server

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"slices"
	"sort"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// paths are the handlers of everything that is not an object. Paths are matched as they came: nothing is cleaned, and
// nothing redirected.
type paths struct {
	exact  map[string]http.Handler
	prefix []prefix // the longest first
	list   []string
}

type prefix struct {
	path    string
	handler http.Handler
}

func (p *paths) handle(path string, h http.Handler) {
	if strings.HasSuffix(path, "/") && path != "/" {
		p.prefix = append(p.prefix, prefix{path, h})
		sort.SliceStable(p.prefix, func(i, j int) bool { return len(p.prefix[i].path) > len(p.prefix[j].path) })
	} else {
		p.exact[path] = h
	}
	p.list = append(p.list, path)
}

func (p *paths) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := p.exact[r.URL.Path]; h != nil {
		h.ServeHTTP(w, r)
		return
	}
	for i := range p.prefix {
		if strings.HasPrefix(r.URL.Path, p.prefix[i].path) {
			p.prefix[i].handler.ServeHTTP(w, r)
			return
		}
	}
	http.NotFound(w, r)
}

func (s *Server) allPaths() *paths {
	p := &paths{exact: map[string]http.Handler{}}
	if d := s.cfg.Discovery; d != nil {
		for _, path := range []string{"/api", "/api/", "/apis", "/apis/"} {
			p.handle(path, d)
		}
	}
	for path, h := range s.cfg.Paths {
		p.handle(path, h)
	}
	s.healthPaths(p)
	p.handle("/version", s.cfg.Version.handler())
	p.handle("/version/", s.cfg.Version.handler())
	p.handle("/metrics", promhttp.HandlerFor(s.cfg.Metrics, promhttp.HandlerOpts{}))
	if s.cfg.Profiling {
		p.handle("/debug/pprof", http.RedirectHandler("/debug/pprof/", http.StatusMovedPermanently))
		p.handle("/debug/pprof/", http.HandlerFunc(pprof.Index))
		p.handle("/debug/pprof/profile", http.HandlerFunc(pprof.Profile))
		p.handle("/debug/pprof/symbol", http.HandlerFunc(pprof.Symbol))
		p.handle("/debug/pprof/trace", http.HandlerFunc(pprof.Trace))
		p.handle("/debug/pprof/cmdline", http.HandlerFunc(pprof.Cmdline))
	}
	index := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { s.writeIndex(w, p) })
	p.exact["/"], p.exact[""], p.exact["/index.html"] = index, index, index
	return p
}

// Lister is an optional ability of Config.Discovery: the paths of groups and versions, for the list at /.
type Lister interface{ Paths() []string }

func (s *Server) writeIndex(w http.ResponseWriter, p *paths) {
	list := slices.Clone(p.list)
	if l, ok := s.cfg.Discovery.(Lister); ok {
		list = append(list, l.Paths()...)
	}
	list = slices.DeleteFunc(list, func(path string) bool { return path != "/" && strings.HasSuffix(path, "/") })
	slices.Sort(list)
	body, err := json.MarshalIndent(map[string][]string{"paths": slices.Compact(list)}, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}
