-- Prints wrk's counts as the last line, as JSON. Only `done` is here: anything else would cost time for each request.
function done(summary)
  local e = summary.errors
  io.write(string.format(
    '{"microseconds":%d,"requests":%d,"bytes":%.0f,"failures":%d}\n',
    summary.duration, summary.requests, summary.bytes, e.connect + e.read + e.write + e.status + e.timeout))
end
