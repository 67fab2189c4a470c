// Package health is the small HTTPS endpoint that every client component has: /healthz, /livez and /readyz for everybody,
// /metrics and /debug/pprof for whom the API server allows them (TokenReview, then SubjectAccessReview on the path).
package health
