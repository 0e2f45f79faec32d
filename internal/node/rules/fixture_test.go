package rules

import (
	"time"
)

var t0 = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func ptr(x float64) *float64 { return &x }

func contractScope(s string) string { return s }
