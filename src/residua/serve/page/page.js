// The models of this server, as a table. Text is set as text: names are never markup.
const row = (tag, cells) => {
  const made = document.createElement("tr");
  for (const text of cells) made.appendChild(document.createElement(tag)).textContent = text;
  return made;
};

try {
  const answer = await fetch("/v1/models");
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  const table = document.getElementById("models");
  table.append(row("th", ["model", "task", "net", "classes"]));
  for (const m of said.models) table.append(row("td", [m.name, m.task, m.arch, m.classes.length]));
} catch (error) {
  document.getElementById("trouble").textContent = `The models cannot be listed: ${error.message}`;
}
