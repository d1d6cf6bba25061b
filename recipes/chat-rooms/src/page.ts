/** The page of a room. `room` is a word: letters, digits, dashes. */
export const page = (room: string): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${room}</title>
<h1>${room}</h1>
<ul id="messages" aria-live="polite"></ul>
<form><label>Say <input name="text" autocomplete="off" maxlength="1000" required></label> <button>Send</button></form>
<script type="module">
  const list = document.querySelector('#messages');
  const name = new URLSearchParams(location.search).get('name') ?? 'somebody';
  const socket = new WebSocket(location.href.replace(/^http/, 'ws').replace(/[?#].*/, '') + '/socket?name=' + encodeURIComponent(name));
  const show = (message) => {
    const item = document.createElement('li');
    item.textContent = message.name + ': ' + message.text;
    list.append(item);
  };
  socket.onmessage = ({ data }) => {
    const { history, message } = JSON.parse(data);
    if (message) show(message);
    else history.forEach(show);
  };
  document.querySelector('form').onsubmit = (event) => {
    event.preventDefault();
    socket.send(event.target.text.value);
    event.target.reset();
  };
</script>
</html>
`;
