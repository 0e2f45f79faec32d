// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"
)

// Steps prints one line a step: its number, its name and how long it took. It prints plain lines, so logs stay readable.
type Steps struct {
	total int
	done  int
	start time.Time
}

// NewSteps starts the clock for a run of n steps.
func NewSteps(n int) *Steps { return &Steps{total: n, start: time.Now()} }

// Do runs one step. A slow step is announced before it runs, so that one can see what is being waited for.
func (s *Steps) Do(name string, slow bool, f func() error) error {
	s.done++
	begin := time.Now()
	if slow {
		fmt.Printf("[%2d/%d] %s ...\n", s.done, s.total, name)
	}
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Printf("[%2d/%d] %-34s %6.1fs   total %s\n", s.done, s.total, name, time.Since(begin).Seconds(), s.Elapsed())
	return nil
}

// Elapsed is the time since the run began, to the second.
func (s *Steps) Elapsed() time.Duration { return time.Since(s.start).Round(time.Second) }
