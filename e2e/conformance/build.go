package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/skiff-project/skiff/e2e/conformance/images"
	"github.com/skiff-project/skiff/e2e/conformance/programs"
)

// build brings the suite and its images up to date.
func build(ctx context.Context) error {
	if err := programs.Build(ctx, moduleDir, programsDir(), os.Stdout); err != nil {
		return err
	}
	source, err := programs.Source(ctx, moduleDir)
	if err != nil {
		return err
	}
	return images.Build(ctx, images.Config{
		Programs: programsDir(), Extras: extrasDir, Source: source,
		Work: filepath.Join(cacheDir, "work"), Out: imagesDir(), Log: os.Stdout,
	})
}
