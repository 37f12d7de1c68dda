package alert

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/agentrisk/agentrisk/scoring"
)

// Points is a score that is written in points, with at most three decimals, and never passes through a float:
// 91075 is 91.075 in JSON and comes back as 91075.
type Points scoring.Score

func (p Points) String() string {
	s := fmt.Sprintf("%d.%03d", p/1000, p%1000)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// MarshalJSON writes a number.
func (p Points) MarshalJSON() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalJSON reads a number from 0 to 100 with at most three decimals.
func (p *Points) UnmarshalJSON(b []byte) error {
	whole, frac, _ := strings.Cut(string(b), ".")
	n, err := strconv.ParseUint(whole, 10, 8)
	if err == nil && len(frac) > 3 {
		err = fmt.Errorf("more than three decimals")
	}
	var f uint64
	if err == nil && frac != "" {
		f, err = strconv.ParseUint((frac + "00")[:3], 10, 16)
	}
	if err != nil || n*1000+f > 100_000 {
		return fmt.Errorf("score %.32q: want 0 to 100 with at most three decimals", b)
	}
	*p = Points(n*1000 + f)
	return nil
}
