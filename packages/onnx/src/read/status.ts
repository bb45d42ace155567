/** What to do about a server that answers with another status than was hoped for. */
export function adviceOnStatus(status: number): string {
  if (status === 401 || status === 403) return 'Does it want a token, or is it private?';
  if (status === 429) return 'The server wants fewer requests: try again later.';
  return status >= 500 ? 'The server failed: try again later.' : 'Is the address right?';
}
