package request

import (
	"context"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// User is who a request comes from.
type User = kinds.UserInfo

type contextKey int

const (
	infoKey contextKey = iota
	userKey
	auditKey
	warningsKey
)

// WithInfo returns a context that carries info.
func WithInfo(ctx context.Context, info *Info) context.Context {
	return context.WithValue(ctx, infoKey, info)
}

// InfoFrom is what the request asks for, or nil outside a request.
func InfoFrom(ctx context.Context) *Info {
	info, _ := ctx.Value(infoKey).(*Info)
	return info
}

// WithUser returns a context that carries the user that the request acts as.
func WithUser(ctx context.Context, user *User) context.Context {
	return context.WithValue(ctx, userKey, user)
}

// UserFrom is the user that the request acts as, or nil before authentication. It is shared: never change it.
func UserFrom(ctx context.Context) *User {
	user, _ := ctx.Value(userKey).(*User)
	return user
}

// WithAuditID returns a context that carries the request's audit ID.
func WithAuditID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, auditKey, id)
}

// AuditIDFrom is the ID under which audit log, answer header and logs name the request.
func AuditIDFrom(ctx context.Context) string {
	id, _ := ctx.Value(auditKey).(string)
	return id
}
