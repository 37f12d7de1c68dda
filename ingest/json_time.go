package ingest

// The times that the column of the verdicts table (DateTime64(3)) holds: 1900 to 2299, unix milliseconds.
const (
	minTime = -2208988800000
	maxTime = 10413791999999
)

// timestamp reads "time": RFC 3339 with any offset and fraction, or unix milliseconds as a whole number. What cannot be
// read, or lies outside of what can be stored, is kept as an attribute as it was sent; the event has no time then.
func (d *jsonDecoder) timestamp() error {
	at := d.pos
	switch c := d.peek(); {
	case c == '"':
		s, err := d.text()
		if err != nil {
			return err
		}
		if ms, ok := parseTime(s); ok {
			d.e.Time, d.time = ms, true
			return nil
		}
	case c == '-' || digit(c):
		var n decimal
		if err := d.decimal(&n); err != nil {
			return err
		}
		if ms, rest, more, ok := n.whole(0); ok && rest == 0 && !more && ms >= minTime && ms <= maxTime {
			d.e.Time, d.time = ms, true
			return nil
		}
	}
	d.pos = at
	return d.attribute("time", 1)
}

// parseTime reads an RFC 3339 timestamp as unix milliseconds; finer fractions are cut. As section 5.6 of the RFC has
// it, T and Z may be small and T may be a space; a leap second is the first moment of the next minute.
func parseTime(b []byte) (ms int64, ok bool) {
	if len(b) < 20 || b[4] != '-' || b[7] != '-' || b[10] != 'T' && b[10] != 't' && b[10] != ' ' || b[13] != ':' || b[16] != ':' {
		return 0, false
	}
	year, ok1 := digits(b[0:4], 1, 9999)
	month, ok2 := digits(b[5:7], 1, 12)
	date, ok3 := digits(b[8:10], 1, 31)
	hour, ok4 := digits(b[11:13], 0, 23)
	minute, ok5 := digits(b[14:16], 0, 59)
	second, ok6 := digits(b[17:19], 0, 60)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || date > daysIn(year, month) {
		return 0, false
	}
	ms = ((daysSince1970(year, month, date)*24+hour)*60+minute)*60_000 + second*1000
	b = b[19:]
	if b[0] == '.' {
		i, scale := 1, int64(100)
		for ; i < len(b) && digit(b[i]); i++ {
			ms += int64(b[i]-'0') * scale
			scale /= 10
		}
		if i == 1 {
			return 0, false
		}
		b = b[i:]
	}
	offset, ok := parseOffset(b)
	ms -= offset
	return ms, ok && ms >= minTime && ms <= maxTime
}

// parseOffset reads Z or +hh:mm as milliseconds east of UTC.
func parseOffset(b []byte) (ms int64, ok bool) {
	if len(b) == 1 {
		return 0, b[0] == 'Z' || b[0] == 'z'
	}
	if len(b) != 6 || b[0] != '+' && b[0] != '-' || b[3] != ':' {
		return 0, false
	}
	hour, ok1 := digits(b[1:3], 0, 23)
	minute, ok2 := digits(b[4:6], 0, 59)
	ms = (hour*60 + minute) * 60_000
	if b[0] == '-' {
		ms = -ms
	}
	return ms, ok1 && ok2
}

// digits reads a number that is nothing but digits, from least to most.
func digits(b []byte, least, most int64) (n int64, ok bool) {
	for _, c := range b {
		if !digit(c) {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, n >= least && n <= most
}

func leap(year int64) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

// daysBefore is how many days of a common year lie before a month.
var daysBefore = [13]int64{0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365}

func daysIn(year, month int64) int64 {
	if month == 2 && leap(year) {
		return 29
	}
	return daysBefore[month] - daysBefore[month-1]
}

// daysSince1970 counts the days of the Gregorian calendar from 1970-01-01 to a date of the year 1 or later.
func daysSince1970(year, month, date int64) int64 {
	past := year - 1
	days := past*365 + past/4 - past/100 + past/400 + daysBefore[month-1] + date - 1
	if month > 2 && leap(year) {
		days++
	}
	const before1970 = 1969*365 + 1969/4 - 1969/100 + 1969/400
	return days - before1970
}
