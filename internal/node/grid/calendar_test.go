package grid

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestWorkingTimeMinuteByMinute holds the calendar against one that asks every minute of the spring festival of 2026, with days shifted and
// hours at random, over midnight too, whether it is worked.
func TestWorkingTimeMinuteByMinute(t *testing.T) {
	zone := location(contract.Platform{})
	first := time.Date(2026, 2, 9, 0, 0, 0, 0, zone)
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 4))
		var c *contract.Calendar
		var days [120]bool
		for n := range days {
			wd := (n + 1) % 7 // the first day is a Monday
			days[n] = wd >= 1 && wd <= 5
		}
		if seed%8 != 0 {
			c = &contract.Calendar{Weekdays: []int{1, 2, 3, 4, 5}}
			for n := range 40 {
				switch day := first.AddDate(0, 0, n).Format("2006-01-02"); r.IntN(5) {
				case 0:
					c.Holidays, days[n] = append(c.Holidays, day), false
				case 1:
					c.Workdays, days[n] = append(c.Workdays, day), true
				}
			}
		}
		hours := []contract.Window{{From: 540, To: 720}, {From: 810, To: 1050}}
		if c != nil && seed%3 != 0 {
			hours = nil
			for range 1 + r.IntN(3) {
				hours = append(hours, contract.Window{From: r.IntN(1440), To: r.IntN(1440)})
			}
			c.Hours = hours
		}
		counts := func(minute int) bool {
			day, of := minute/1440, minute%1440
			for _, h := range hours {
				night := h.To <= h.From
				if days[day] && of >= h.From && (night || of < h.To) || night && day > 0 && days[day-1] && of < h.To {
					return true
				}
			}
			return false
		}
		start, left := 1440+r.IntN(20*1440), 1+r.IntN(10*420)
		end, sum := start, 0
		for ; sum < left && end < len(days)*1440; end++ {
			if counts(end) {
				sum++
			}
		}
		if sum < left {
			continue // some minutes a day are worked
		}
		from := first.Add(time.Duration(start) * time.Minute)
		got := addWorking(c, from, time.Duration(left)*time.Minute)
		if want := first.Add(time.Duration(end) * time.Minute); !got.Equal(want) {
			t.Fatalf("seed %d: %d minutes after %s is %s, want %s", seed, left, from, got, want)
		}
		until := start + r.IntN(60*1440)
		sum = 0
		for m := start; m < until; m++ {
			if counts(m) {
				sum++
			}
		}
		if got := workingBetween(c, from, first.Add(time.Duration(until)*time.Minute)); got != time.Duration(sum)*time.Minute {
			t.Fatalf("seed %d: %s between, want %d minutes", seed, got, sum)
		}
	}
	if got := addWorking(&contract.Calendar{Weekdays: []int{}}, first, time.Hour); got.Sub(first) < 3*365*24*time.Hour {
		t.Errorf("no day is worked, and an hour is over at %s", got)
	}
}
